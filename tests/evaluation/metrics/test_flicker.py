from __future__ import annotations

import math

import pytest
import torch

from personatalk_core.evaluation.metrics.flicker import flicker, jitter
from personatalk_core.evaluation.metrics.reconstruction import around_lips, lip_detail, region_masks
from personatalk_core.rendering.surface import corresponding_positions, draw_surface, sample_at


def around(points, face_model):
    return around_lips(region_masks(points, face_model, 256))


def test_a_still_picture_does_not_flicker_and_noise_does(clip, face_model):
    points, picture = clip.points[:1].expand(4, -1, -1), clip.pixels[:1].expand(4, -1, -1, -1)
    still = torch.zeros(4)
    assert flicker(picture, points, still, around(points, face_model), face_model) == pytest.approx(
        0.0, abs=0.05
    )
    brighter = picture + torch.tensor([0.0, 0.1, 0.0, 0.1])[:, None, None, None]
    assert flicker(brighter, points, still, around(points, face_model), face_model) == pytest.approx(
        25.5, abs=0.3
    )


def test_skin_that_moves_with_the_mesh_does_not_flicker(clip, face_model):
    """The second frame is the first one warped by the mesh: without compensation it would differ."""
    points = clip.points[[0, 6]]
    smooth = torch.nn.functional.avg_pool2d(clip.pixels[:1], 9, 1, 4)
    surface = draw_surface(points[1:], face_model, 256)[0]
    positions, _ = corresponding_positions(surface, points[:1], torch.ones(1, face_model.vertex_count))
    pixels = torch.cat([smooth, sample_at(smooth, positions)])
    plain = 255 * float((pixels[1] - pixels[0]).abs().mean())
    assert flicker(pixels, points, torch.zeros(2), around(points, face_model), face_model) < 0.05 * plain


def test_only_frames_with_a_still_mouth_count(clip, face_model):
    points = clip.points[:2]
    assert math.isnan(
        flicker(clip.pixels[:2], points, torch.tensor([0.0, 0.2]), around(points, face_model), face_model)
    )


def test_even_motion_has_no_jitter_and_alternating_motion_has():
    even = torch.arange(10.0)[:, None, None] * torch.ones(1, 5, 2)
    assert jitter(even) == pytest.approx(0.0, abs=1e-5)
    shaking = even.clone()
    shaking[1::2, :, 0] += 1.0
    assert jitter(shaking) == pytest.approx(2.0)
    assert math.isnan(jitter(even[:2]))


def test_blur_takes_lip_detail_away(clip, face_model):
    noise = torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    mask = around(clip.points[:2], face_model)
    sharp, soft = (lip_detail(x, mask) for x in (noise, torch.nn.functional.avg_pool2d(noise, 3, 1, 1)))
    assert (soft < 0.3 * sharp).all()
    flat = lip_detail(torch.full_like(noise, 0.5), mask)
    assert flat.tolist() == pytest.approx([0.0, 0.0], abs=1e-3)
