"""Colours at landmarks tell people apart and notice what lies before a mouth."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from personatalk_core.tracking.appearance import (
    LEARNING_RATE,
    AppearanceMemory,
    appearance_distance,
    landmark_colours,
    lower_face,
    lower_face_change,
)

BOX = (165.0, 140.0, 290.0)


@pytest.fixture(scope="module")
def reading(landmarker, woman):
    return landmarker.read(woman[0], BOX)[0]


def test_colours_are_taken_where_the_points_are():
    crop = np.zeros((64, 64, 3), np.uint8)
    crop[:, 32:] = (200, 100, 50)
    points = np.tile([[10.0, 30.0]], (478, 1))
    points[100] = (50.0, 30.0)
    colours = landmark_colours(crop, points)
    assert colours.shape == (468, 3) and (colours[100] == (200, 100, 50)).all() and not colours[0].any()


def test_one_person_is_nearer_than_two(landmarker, woman, man):
    a, b = (landmarker.read(woman[i], BOX)[0].colours for i in (0, 20))
    other = landmarker.read(man[0], (175, 130, 300))[0].colours
    assert appearance_distance(a, a) < 1e-6
    assert appearance_distance(a, b) < 0.2 < 0.38 < appearance_distance(a, other)


def test_the_lower_face_is_below_the_nose_in_any_pose(reading, woman, landmarker):
    lower = lower_face(reading.landmarks)
    assert {61, 291, 17, 200}.issubset(lower) and not {33, 263, 1, 168, 13, 152}.intersection(lower)
    turn = cv2.getRotationMatrix2D((165, 140), 30, 1.0)
    tilted = landmarker.read(cv2.warpAffine(woman[0], turn, (350, 350)), BOX)[0]
    assert len(np.setxor1d(lower, lower_face(tilted.landmarks))) < 0.15 * len(lower)


def test_brightness_is_not_a_change_but_a_cover_is(reading):
    lower = lower_face(reading.landmarks)
    assert lower_face_change(reading.colours, reading.colours + 20, lower) < 0.05
    covered = reading.colours.copy()
    covered[lower] = (40, 40, 45)
    assert lower_face_change(reading.colours, covered, lower) > 0.6


def test_a_cover_is_not_learned_and_a_slow_change_is(reading):
    memory, lower = AppearanceMemory(), lower_face(reading.landmarks)
    memory.add(reading.colours, reading.landmarks, (0, 0))
    covered = reading.colours.copy()
    covered[lower] = (40, 40, 45)
    changes = [memory.add(covered, reading.landmarks, (0, 0)) for _ in range(30)]
    assert min(changes) > 0.6
    assert memory.add(reading.colours, reading.landmarks, (0, 0)) < 0.3
    tanned = reading.colours + np.array([15.0, 5.0, -10.0], np.float32)
    for _ in range(round(3 / LEARNING_RATE)):
        memory.add(tanned, reading.landmarks, (0, 0))
    assert memory.distance(tanned, (0, 0)) < 0.03


def test_each_turn_of_the_head_has_its_own_colours(reading):
    memory = AppearanceMemory()
    side = reading.colours[::-1].copy()
    memory.add(reading.colours, reading.landmarks, (0, 0))
    memory.colours[(3, 0)] = side
    assert memory.distance(side, (36, 0)) < 1e-6 < memory.distance(side, (0, 0))
