"""Cuts are found; pans, flashes, fades and things that pass by are not cuts."""

from __future__ import annotations

import cv2
import numpy as np

from personatalk_core.tracking.shots import Continuity, CutDetector


def cuts(frames) -> list[int]:
    detector = CutDetector()
    return [i for i, frame in enumerate(frames) if detector.judge(frame) == Continuity.CUT]


def scene(seed: int, shift: int = 0) -> np.ndarray:
    """(180, 320, 3) uint8 picture of soft blobs, moved sideways."""
    noise = np.random.default_rng(seed).random((180, 640, 3)).astype(np.float32)
    wide = cv2.GaussianBlur(noise, (0, 0), 12)
    wide = (wide - wide.min()) / np.ptp(wide) * 255
    return wide[:, 100 + shift : 420 + shift].astype(np.uint8)


def test_cuts_are_found_where_they_are():
    assert cuts([scene(0)] * 5 + [scene(1)] * 3 + [scene(2)] * 1 + [scene(0)] * 4) == [5, 8, 9]


def test_a_pan_is_not_a_cut():
    assert cuts([scene(0, 6 * i) for i in range(30)]) == []


def test_a_fast_pan_that_speeds_up_is_not_a_cut():
    assert cuts([scene(0, int(0.25 * i * i)) for i in range(30)]) == []


def test_a_flash_is_not_a_cut():
    flash = np.clip(scene(0).astype(int) + 90, 0, 255).astype(np.uint8)
    assert cuts([scene(0)] * 5 + [flash] + [scene(0)] * 5) == []


def test_a_fade_is_not_a_cut():
    assert cuts([(scene(0) * (1 - i / 20)).astype(np.uint8) for i in range(20)]) == []


def test_something_that_passes_before_the_camera_is_not_a_cut():
    frames = [scene(0) for _ in range(20)]
    for i in range(5, 15):
        frames[i][30:170, 20 * i - 60 : 20 * i + 20] = (20, 200, 40)
    assert cuts(frames) == []


def test_the_first_frame_and_flat_frames_are_no_cuts():
    assert cuts([np.zeros((40, 50, 3), np.uint8)] * 3) == []
