"""SSIM, PSNR and GMSD of whole crops: how close pictures come to the real ones (paper 4.2, visual quality).

All take values in [0, 1]. Inside masks, ``reconstruction`` measures the same.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from .reconstruction import masked_psnr

WINDOW, DEVIATION = 11, 1.5  # Wang et al. 2004
LUMA = (0.299, 0.587, 0.114)
GMSD_C = 0.0026  # Xue et al. 2014, for values in [0, 1]
SEAM_BAND = (0.02, 0.98)  # of the mask: where it goes from nothing to everything
SEAM_BLUR = 5  # pixels: grain and coding noise are no seam


def psnr(image: Tensor, truth: Tensor) -> Tensor:
    """Peak signal to noise ratio in dB of each frame: (T, 3, H, W) twice to (T,); 100 dB where they are
    equal."""
    return masked_psnr(image, truth, torch.ones_like(image[:, :1], dtype=torch.bool))


def ssim(image: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of each frame.

    Paper: 4.2. Wang et al. 2004: luma, Gaussian window of 11 pixels and deviation 1.5, windows inside the
        picture only.
    Args:
        image, truth: (T, 3, H, W) in [0, 1], H and W at least 11.
    Returns:
        (T,) in [-1, 1]; 1 where they are equal.
    """
    axes = check_shape("image", image, "T", 3, "H", "W")
    check_shape("truth", truth, axes["T"], 3, axes["H"], axes["W"])
    x, y = luma(image), luma(truth)
    offset = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    bell = torch.exp(-0.5 * (offset / DEVIATION).square())
    bell = bell / bell.sum()

    def mean(value: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(value, bell[None, None, :, None]), bell[None, None, None, :])

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    score = (
        (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2) / ((mx * mx + my * my + 0.01**2) * (vx + vy + 0.03**2))
    )
    return score.mean(dim=(1, 2, 3))


def gmsd(image: Tensor, truth: Tensor) -> Tensor:
    """Gradient magnitude similarity deviation of each frame (Xue et al. 2014): 0 is the same picture, larger
    is worse.

    The perceptual distance that needs no learned weights; it stands beside LPIPS, it is not LPIPS.
    Args:
        image, truth: (T, 3, H, W) in [0, 1].
    Returns:
        (T,) >= 0.
    """
    check_shape("truth", truth, *image.shape)
    first, second = (_gradient(F.avg_pool2d(luma(x), 2)) for x in (image, truth))
    similarity = (2 * first * second + GMSD_C) / (first.square() + second.square() + GMSD_C)
    return similarity.flatten(1).std(dim=1, correction=0)


def luma(image: Tensor) -> Tensor:
    """(T, 3, H, W) to (T, 1, H, W), ITU-R BT.601."""
    return (image * image.new_tensor(LUMA)[None, :, None, None]).sum(1, keepdim=True)


def _gradient(x: Tensor) -> Tensor:
    """Prewitt gradient magnitude of (T, 1, H, W)."""
    kernel = x.new_tensor([[1.0, 0.0, -1.0]] * 3) / 3.0
    both = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), torch.stack([kernel, kernel.T])[:, None])
    return both.square().sum(1, keepdim=True).clamp_min(1e-12).sqrt()


def seam_visibility(image: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Steepness of the change along the border of the pasted region.

    Args:
        image, source: (T, 3, H, W) in [0, 1].
        mask:          (T, 1, H, W) in [0, 1], how much of the output was pasted.
    Returns:
        (T,) 95th percentile of the gradient of the blurred luma difference in the band where the mask fades
        (one pixel to either side where it is hard), in grey levels of 255 a pixel; 0 where nothing was
        changed; NaN without a border.
    """
    check_shape("source", source, *image.shape)
    frames, _, height, width = image.shape
    check_shape("mask", mask, frames, 1, height, width)
    change = F.avg_pool2d(
        luma(image) - luma(source), SEAM_BLUR, stride=1, padding=SEAM_BLUR // 2, count_include_pad=False
    )
    gradient = torch.zeros_like(change)
    gradient[..., :-1, :-1] = (change[..., 1:, :-1] - change[..., :-1, :-1]).square() + (
        change[..., :-1, 1:] - change[..., :-1, :-1]
    ).square()
    highest, lowest = F.max_pool2d(mask, 3, 1, 1), -F.max_pool2d(-mask, 3, 1, 1)
    band = (highest > SEAM_BAND[0]) & (lowest < SEAM_BAND[1])
    rows = [
        g[b].sqrt().quantile(0.95) if bool(b.any()) else g.new_tensor(float("nan"))
        for g, b in zip(gradient, band, strict=True)
    ]
    return 255.0 * torch.stack(rows)
