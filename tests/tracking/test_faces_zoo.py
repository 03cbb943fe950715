"""Odd faces and odd frames: nothing crashes, and what cannot be dubbed is named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from personatalk_core.errors import FaceError
from personatalk_core.types import FrameStatus

RED = (150, 30, 35)


def names(track) -> list[str]:
    return [FrameStatus(s).name for s in track.status]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (1, 400), (7, 5), (17, 1000)])
def test_frames_too_small_for_any_face(track, size):
    frames = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    with pytest.raises(FaceError, match="no face was found"):
        track(frames)


def test_a_clip_of_one_frame(woman, track):
    assert names(track(woman[:1])) == ["OK"]


def test_frames_that_are_views(woman, track):
    assert names(track([picture[:, ::-1] for picture in woman[:2]])) == ["OK"] * 2


def test_a_face_larger_than_the_frame_is_dubbed_if_its_mouth_is_inside(man, track):
    close = [cv2.resize(picture[85:250, 92:257], (720, 720)) for picture in man[:3]]  # chin and forehead lie outside
    result = track(close)
    assert np.ptp(result.landmarks[0, :, 1]) > 700
    assert names(result) == ["OK"] * 3


def test_a_face_whose_mouth_is_outside_is_not_dubbed(woman, track):
    result = names(track([*woman[:4], *(np.roll(picture, 180, 0) for picture in woman[4:8])]))
    assert result[:4] == ["OK"] * 4 and "OK" not in result[4:]


def test_a_face_half_outside_the_frame_is_not_dubbed(woman, track):
    frames = [*woman[:6], *(np.ascontiguousarray(picture[:, 165:]) for picture in woman[:6])]
    frames = [cv2.copyMakeBorder(f, 0, 0, 0, 350 - f.shape[1], cv2.BORDER_CONSTANT, value=RED) for f in frames]
    assert names(track(frames))[:6] == ["OK"] * 6
    leaving = [np.roll(picture, -30 * i, 1) for i, picture in enumerate(woman[:8])]
    for i, picture in enumerate(leaving):
        picture[:, 350 - 30 * i :] = RED
    result = names(track([*woman[:4], *leaving]))
    assert result[:4] == ["OK"] * 4 and result[-1] in ("COVERED", "NO_FACE")


def test_a_dark_and_a_bright_picture(woman, track):
    assert names(track([(picture * 0.25).astype(np.uint8) for picture in woman[:2]])) == ["OK"] * 2
    assert names(track([np.clip(picture * 1.6, 0, 255).astype(np.uint8) for picture in woman[:2]])) == ["OK"] * 2


def test_a_fast_face_is_kept(woman, track, paste):
    """The face moves by half its width and more each frame."""
    canvas = np.full((300, 900, 3), 120, np.uint8)
    path = [0, 60, 120, 180, 250, 330, 410, 490, 560, 620]
    result = track([paste(canvas, woman[i], x, 25, 250) for i, x in enumerate(path)])
    centre = (result.landmarks[..., 0].min(1) + result.landmarks[..., 0].max(1)) / 2
    assert (result.status == FrameStatus.OK).sum() >= 8 and FrameStatus.NO_FACE not in result.status
    assert np.abs(centre - centre[0] - path).max() < 40


def test_a_face_that_comes_and_goes(woman, track):
    blank = np.full_like(woman[0], RED)
    frames = [*woman[:5], *[blank] * 40, *woman[5:10]]
    result = names(track(frames))
    assert result[:5] == ["OK"] * 5 and result[-1] == "OK"
    assert "OK" not in result[5:45]


def test_a_microphone_before_the_mouth_is_covered(man, track):
    frames = [picture.copy() for picture in [*man, *man[::-1]]][:24]
    for picture in frames[10:18]:
        cv2.circle(picture, (172, 205), 36, (35, 35, 38), -1)
    result = names(track(frames))
    assert result[:9] == ["OK"] * 9 and result[19:] == ["OK"] * 5
    assert result[11:17] == ["COVERED"] * 6
