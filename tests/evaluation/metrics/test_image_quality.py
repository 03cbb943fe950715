from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.evaluation.metrics.image_quality import gmsd, psnr, ssim


@pytest.fixture
def picture():
    return torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))


def test_equal_pictures_are_perfect(picture):
    assert psnr(picture, picture).tolist() == pytest.approx([100.0, 100.0])
    assert ssim(picture, picture).tolist() == pytest.approx([1.0, 1.0])
    assert gmsd(picture, picture).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_psnr_of_a_constant_error_of_a_tenth_is_20_db(picture):
    assert psnr(picture, picture + 0.1).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)


def test_ssim_of_flat_pictures_is_the_luminance_term():
    flat = torch.ones(1, 3, 32, 32)
    expected = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert float(ssim(0.4 * flat, 0.6 * flat)) == pytest.approx(expected, abs=1e-4)


def test_ssim_agrees_with_scipys_gaussian(picture):
    """The slow twin: windows by scipy's filter, borders cut off."""
    from scipy.ndimage import gaussian_filter

    noisy = (picture + 0.2 * torch.rand(picture.shape, generator=torch.Generator().manual_seed(1))).clamp(
        0, 1
    )
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    x, y = ((p[0] * weights).sum(0).double().numpy() for p in (noisy, picture))

    def mean(value):
        return gaussian_filter(value, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    slow = ((2 * mx * my + 1e-4) * (2 * cov + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean()
    assert float(ssim(noisy, picture)[0]) == pytest.approx(slow, abs=1e-5)


def test_gmsd_grows_with_blur_and_not_with_brightness(picture):
    smooth = torch.nn.functional.avg_pool2d(picture, 5, 1, 2)
    assert float(gmsd(smooth, picture).mean()) > 0.05
    assert float(gmsd(0.9 * picture + 0.05, picture).mean()) < 0.5 * float(gmsd(smooth, picture).mean())


def test_other_shapes_are_refused(picture):
    with pytest.raises(ShapeError, match="truth"):
        ssim(picture, picture[:, :, :20])
