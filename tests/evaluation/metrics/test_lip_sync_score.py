from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.evaluation.metrics.lip_sync_score import correlation, sync_curve


@pytest.fixture
def motion():
    noise = torch.randn(1, 1, 120, generator=torch.Generator().manual_seed(5))
    return torch.nn.functional.avg_pool1d(noise, 3, 1, 1)[0, 0]


def test_a_mouth_that_is_late_by_four_frames_is_found(motion):
    curve = sync_curve(torch.roll(motion, 4), motion)
    assert curve.best_lag == 4
    assert curve.best_r == pytest.approx(1.0, abs=1e-5)
    assert curve.at(0) < 0.5


def test_a_mouth_that_is_early_has_a_negative_lag(motion):
    assert sync_curve(torch.roll(motion, -3), motion).best_lag == -3


def test_frames_without_a_face_do_not_count(motion):
    seen = motion.clone()
    valid = torch.ones(120, dtype=torch.bool)
    seen[40:60], valid[40:60] = 50.0, False
    assert sync_curve(seen, motion, valid).at(0) == pytest.approx(1.0, abs=1e-5)
    assert sync_curve(seen, motion).at(0) < 0.5


def test_amplitude_and_offset_do_not_matter_and_stillness_is_zero(motion):
    assert correlation(3 * motion + 7, motion) == pytest.approx(1.0)
    assert correlation(torch.ones(120), motion) == 0.0


def test_too_few_frames_are_refused(motion):
    with pytest.raises(ShapeError, match="too few"):
        sync_curve(motion[:20], motion)
