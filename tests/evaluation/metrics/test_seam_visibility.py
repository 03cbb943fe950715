from __future__ import annotations

import math

import pytest
import torch

from personatalk_core.evaluation.metrics.image_quality import seam_visibility


@pytest.fixture
def source():
    return 0.25 + 0.5 * torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def hard_mask():
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 16:48, 16:48] = 1.0
    return mask


def test_nothing_changed_shows_no_seam(source):
    assert float(seam_visibility(source, source, hard_mask())[0]) == 0.0


def test_a_step_of_ten_levels_is_seen_and_a_ramp_less(source):
    step = seam_visibility(source + 10 / 255 * hard_mask(), source, hard_mask())
    # a step blurred over 5 pixels; steeper at corners
    assert float(step[0]) == pytest.approx(10 / 5, rel=0.6)
    soft = torch.nn.functional.avg_pool2d(hard_mask(), 17, 1, 8)
    assert float(seam_visibility(source + 10 / 255 * soft, source, soft)[0]) < 0.6 * float(step[0])


def test_changes_inside_the_region_are_not_a_seam(source):
    changed = source.clone()
    changed[..., 28:36, 28:36] += 0.2
    assert float(seam_visibility(changed, source, hard_mask())[0]) == 0.0


def test_without_a_border_there_is_no_number(source):
    assert math.isnan(float(seam_visibility(source, source, torch.zeros(1, 1, 64, 64))[0]))
