"""Metrics with known answers, and masks that are what they say."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.evaluation.metrics.reconstruction import (
    detail,
    dilate,
    masked_psnr,
    masked_ssim,
    reconstruction_report,
    region_masks,
)
from personatalk_core.geometry.face_model import load_face_model


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


@pytest.fixture(scope="module")
def points(face_model):
    return (face_model.mean * torch.tensor([85.0, -85.0, 85.0]) + torch.tensor([128.0, 128.0, 0.0]))[None]


def noise(seed: int = 0) -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_psnr_of_a_known_error_counts_only_the_mask():
    truth = torch.full((2, 3, 8, 8), 0.5)
    image, mask = truth.clone(), torch.zeros(2, 1, 8, 8, dtype=torch.bool)
    mask[:, :, :4] = True
    image[:, :, :4] += 0.1
    image[:, :, 4:] = 0.0
    assert masked_psnr(image, truth, mask).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)
    assert bool(masked_psnr(image, truth, torch.zeros_like(mask)).isnan().all())
    with pytest.raises(ShapeError):
        masked_psnr(image, truth[:1], mask)


def test_ssim_is_one_for_equal_pictures_and_less_for_others():
    mask = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    assert masked_ssim(noise(), noise(), mask).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)
    assert float(masked_ssim(noise(), noise(1), mask).max()) < 0.2


def test_detail_falls_when_a_picture_is_blurred():
    mask = torch.ones(2, 1, 64, 64, dtype=torch.bool)
    blurred = torch.nn.functional.avg_pool2d(noise(), 3, stride=1, padding=1)
    assert float((detail(blurred, mask) / detail(noise(), mask)).max()) < 0.3


def test_dilation_grows_by_the_stated_pixels():
    mask = torch.zeros(1, 1, 9, 9, dtype=torch.bool)
    mask[0, 0, 4, 4] = True
    assert int(dilate(mask, 2).sum()) == 25 and torch.equal(dilate(mask, 0), mask)


def test_masks_lie_where_the_mouth_is(points, face_model):
    masks = region_masks(points, face_model, 256)
    assert bool((masks.lips <= masks.face).all()) and 0.03 < float(masks.lips.sum() / masks.face.sum()) < 0.25
    x, y = (int(v) for v in points[0, face_model.lips, :2].mean(dim=0))
    assert bool(masks.lips[0, 0, y, x])
    assert not bool(masks.lips[0, 0, int(points[0, 4, 1]), int(points[0, 4, 0])])  # the tip of the nose
    assert int(region_masks(points, face_model, 256, dilation=0.0).lips.sum()) < int(masks.lips.sum())


def test_a_perfect_reconstruction_has_a_perfect_report(points, face_model):
    truth = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    report = reconstruction_report(truth, truth, points, face_model)
    assert report["psnr_face"] == pytest.approx(100.0) and report["ssim_lips"] == pytest.approx(1.0, abs=1e-4)
    assert report["detail_lips"] == pytest.approx(1.0) and report["frames"] == 1
