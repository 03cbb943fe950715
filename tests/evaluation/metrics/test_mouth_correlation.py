from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError
from personatalk_core.evaluation.metrics.landmark_distance import leak, mouth_correlation, mouth_series
from personatalk_core.types import FrameStatus


def test_a_mouth_follows_itself(clip, face_model):
    found = mouth_correlation(clip.geometry, clip.geometry, face_model)
    assert found == pytest.approx({"opening_r": 1.0, "width_r": 1.0, "opening_gain": 1.0}, abs=1e-4)


def test_frames_without_a_face_are_left_out(clip, face_model):
    spoiled = clip.geometry.expression.clone()
    spoiled[10:14] = 4.0
    status = clip.geometry.status.clone()
    status[10:14] = int(FrameStatus.NO_FACE)
    broken = replace(clip.geometry, expression=spoiled)
    assert mouth_correlation(broken, clip.geometry, face_model)["opening_r"] < 0.99
    assert mouth_correlation(replace(broken, status=status), clip.geometry, face_model)[
        "opening_r"
    ] == pytest.approx(1.0, abs=1e-4)


def test_openings_are_positive_and_of_the_right_size(clip, face_model):
    opening, width = mouth_series(clip.geometry, face_model)
    assert opening.shape == width.shape == (30,)
    assert float(opening.min()) >= 0 and float(opening.max()) < 0.6 < 2 * float(width.mean())


def test_another_face_model_is_refused(clip, face_model):
    with pytest.raises(FaceModelMismatchError):
        mouth_correlation(replace(clip.geometry, face_model="0" * 64), clip.geometry, face_model)


def test_leak_is_one_for_an_unchanged_mouth_and_near_zero_for_a_new_one():
    source, heard = torch.randn(2, 400, generator=torch.Generator().manual_seed(1))
    assert leak(source, source, heard) == pytest.approx(1.0)
    assert (
        abs(
            leak(
                2 * heard + 0.1 * torch.randn(400, generator=torch.Generator().manual_seed(2)), source, heard
            )
        )
        < 0.15
    )
    # what is not heard comes from the source
    assert leak(heard + source, source, heard) == pytest.approx(1.0, abs=1e-6)
