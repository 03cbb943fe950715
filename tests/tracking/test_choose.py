"""Choices on made-up candidates: who speaks, how large, where."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk_core.config import FaceChoice
from personatalk_core.errors import FaceError
from personatalk_core.tracking.choose import choose_tracklet, link_tracklets, speaking_score
from personatalk_core.tracking.landmarks import LIP_MIDDLES
from personatalk_core.tracking.tracklet import Tracklet


def tracklet(shot: int, frames, x: float, size: float, opening: float, colour: int) -> Tracklet:
    """A face that opens its lips by up to ``opening`` of its size; people are told apart by their colour
    pattern."""
    rng = np.random.default_rng(colour)
    base = rng.random((478, 3)).astype(np.float32) * size + (x, 100, 0)
    person = Tracklet(shot)
    pattern = np.random.default_rng(1000 + colour).random((468, 3)).astype(np.float32) * 200
    for frame in frames:
        points = base.copy()
        points[LIP_MIDDLES[0]] = points[LIP_MIDDLES[1]] = base[14]
        points[LIP_MIDDLES[1], 1] += size * opening * (frame % 3) / 2
        person.frames.append(frame)
        person.landmarks.append(points)
        person.blendshapes.append(np.zeros(52, np.float32))
        person.turn.append(0.0)
        person.size.append(size)
        person.appearance_change.append(person.appearance.add(pattern, base, (0, 0)))
    return person


def test_a_speaker_beats_a_larger_silent_face():
    silent, speaker = tracklet(0, range(30), 0, 200, 0.003, 1), tracklet(0, range(30), 400, 120, 0.12, 2)
    assert speaking_score(speaker) > speaking_score(silent)
    assert choose_tracklet([silent, speaker], FaceChoice("auto")) is speaker
    assert choose_tracklet([silent, speaker], FaceChoice("largest")) is silent


def test_all_shots_of_a_person_count_together():
    guest = tracklet(1, range(30, 60), 0, 100, 0.1, 2)
    host = [tracklet(shot, range(a, a + 20), 0, 100, 0.1, 1) for shot, a in ((0, 0), (2, 60), (3, 80))]
    chosen = choose_tracklet([guest, *host], FaceChoice("auto"))
    assert chosen in host
    assert link_tracklets(chosen, [guest, *host]) == host


def test_a_flickering_pattern_is_not_a_person():
    pattern = tracklet(0, range(0, 100, 20), 0, 300, 0.2, 3)
    person = tracklet(0, range(2, 90), 400, 60, 0.1, 1)
    for choice in ("auto", "largest", "index:0"):
        assert choose_tracklet([pattern, person], FaceChoice.parse(choice)) is person
    assert choose_tracklet([pattern], FaceChoice("auto")) is pattern


def test_two_faces_at_once_are_never_one_person():
    left, right = tracklet(0, range(20), 0, 100, 0.1, 1), tracklet(0, range(10, 30), 300, 100, 0.1, 1)
    assert link_tracklets(left, [left, right]) == [left]


def test_a_point_may_name_a_frame_in_which_the_face_was_covered():
    person = tracklet(0, [*range(10), *range(15, 30)], 50, 100, 0.1, 1)
    assert choose_tracklet([person], FaceChoice.parse("point:100,150@12")) is person
    with pytest.raises(FaceError, match=r"frame 40: no face found there"):
        choose_tracklet([person], FaceChoice.parse("point:100,150@40"))
