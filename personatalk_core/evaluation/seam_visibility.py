"""Seam: an edge in the difference between output and source where the pasted region ends."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_shape
from .image_quality import luma

BAND = (0.02, 0.98)  # of the mask: where it goes from nothing to everything
BLUR = 5  # pixels: grain and coding noise are no seam


def seam_visibility(image: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """Steepness of the change along the border of the pasted region.

    Args:
        image, source: (T, 3, H, W) in [0, 1].
        mask:          (T, 1, H, W) in [0, 1], how much of the output was pasted.
    Returns:
        (T,) 95th percentile of the gradient of the blurred luma difference in the band where the mask fades (one pixel
        to either side where it is hard), in grey levels of 255 a pixel; 0 where nothing was changed; NaN without a border.
    """
    check_shape("source", source, *image.shape)
    frames, _, height, width = image.shape
    check_shape("mask", mask, frames, 1, height, width)
    change = F.avg_pool2d(luma(image) - luma(source), BLUR, stride=1, padding=BLUR // 2, count_include_pad=False)
    gradient = torch.zeros_like(change)
    gradient[..., :-1, :-1] = (change[..., 1:, :-1] - change[..., :-1, :-1]).square() + (
        change[..., :-1, 1:] - change[..., :-1, :-1]
    ).square()
    most, least = F.max_pool2d(mask, 3, 1, 1), -F.max_pool2d(-mask, 3, 1, 1)
    band = (most > BAND[0]) & (least < BAND[1])
    rows = [g[b].sqrt().quantile(0.95) if bool(b.any()) else g.new_tensor(float("nan")) for g, b in zip(gradient, band, strict=True)]
    return 255.0 * torch.stack(rows)
