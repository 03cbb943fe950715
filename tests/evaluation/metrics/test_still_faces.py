"""Stillness and jitter against values worked out by hand."""

import math

import pytest
import torch

from personatalk_core.evaluation.metrics.flicker import (
    FEWEST,
    STILL_HEAD,
    head_speed,
    jitter_ratio,
    mouth_speed,
    second_difference,
    still_frames,
)


def test_second_difference_is_zero_on_a_path_of_even_speed_and_twice_a_jump():
    path = torch.arange(5.0)[:, None, None] * torch.tensor([3.0, -4.0, 9.0])
    assert torch.equal(second_difference(path), torch.zeros(3, 1))
    path[2, 0, :2] += torch.tensor([3.0, 4.0])
    assert second_difference(path)[:, 0].tolist() == [5, 10, 5]  # depth does not count


def test_head_speed_is_the_path_a_frame_in_eye_distances():
    # 5 px a frame
    points = torch.arange(12.0)[:, None, None] * torch.tensor([3.0, 4.0]) + torch.zeros(1, 7, 2)
    seen = torch.ones(12, dtype=torch.bool)
    speed = head_speed(points, 100.0, seen)
    assert torch.allclose(speed[4:-4], torch.full((4,), 0.05))
    assert math.isinf(speed[0]) and math.isinf(speed[-2])
    seen[6] = False
    assert torch.isinf(head_speed(points, 100.0, seen)[4:9]).all()


def test_a_trembling_head_is_still_and_a_moving_one_is_not():
    generator = torch.Generator().manual_seed(0)
    tremble = torch.randn(60, 1, 2, generator=generator) * 0.1  # px, at 100 px between the eyes
    moving = torch.cat([torch.zeros(30), torch.arange(30.0)])[:, None, None]
    seen = torch.ones(60, dtype=torch.bool)
    still = still_frames(tremble + moving + torch.zeros(1, 9, 2), 100.0, seen)
    assert still.shape == (58,)
    assert still[4:20].float().mean() > 0.7 and not still[36:52].any()


def test_without_still_frames_the_stillest_are_taken():
    moving = (torch.arange(40.0) ** 1.5)[:, None, None] + torch.zeros(1, 3, 2)
    still = still_frames(moving, 10.0, torch.ones(40, dtype=torch.bool))
    assert int(still.sum()) == FEWEST and still[1 : FEWEST + 1].all()  # the first ones, where it is slowest
    assert float(head_speed(moving, 10.0, torch.ones(40, dtype=torch.bool)).min()) > STILL_HEAD
    assert not still_frames(moving[:4], 10.0, torch.ones(4, dtype=torch.bool)).any()


def test_mouth_speed_and_the_ratio():
    opening = torch.arange(10.0) * 0.02
    assert torch.allclose(
        mouth_speed(opening, torch.ones(10, dtype=torch.bool))[3:-3], torch.full((4,), 0.02)
    )
    raw = torch.randn(8, 5, 2, generator=torch.Generator().manual_seed(1))
    assert jitter_ratio(raw / 4, raw, torch.ones(6, dtype=torch.bool)) == pytest.approx(0.25)
    assert math.isnan(jitter_ratio(raw, raw, torch.zeros(6, dtype=torch.bool)))
