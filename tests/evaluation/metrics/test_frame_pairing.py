from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.evaluation.metrics.frame_pairing import pair_frames
from personatalk_core.types import VideoInfo


def video(frames: int, fps: float) -> VideoInfo:
    times = np.arange(frames) / fps
    return VideoInfo(Path("out.mp4"), 64, 64, times, np.full(frames, 1 / fps), Fraction(fps), True, False, "")


def test_as_many_frames_are_the_same_frames(clip):
    assert pair_frames(video(30, 25), clip.geometry, 1.2, "cut_off").tolist() == list(range(30))


def test_a_bounced_output_goes_back_and_forth(clip):
    shown = pair_frames(video(50, 25), clip.geometry, 2.0, "bounce").tolist()
    assert shown[:30] == list(range(30)) and shown[30:33] == [28, 27, 26] and len(shown) == 50


def test_another_frame_rate_is_matched_by_time(clip):
    shown = pair_frames(video(60, 50), clip.geometry, 1.2, "cut_off").tolist()
    assert shown[:6] == [0, 0, 1, 1, 2, 2]


def test_an_output_that_cannot_come_from_this_source_is_refused(clip):
    with pytest.raises(MediaError, match="lasts"):
        pair_frames(video(200, 25), clip.geometry, 1.2, "cut_off")
