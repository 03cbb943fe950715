"""Blending several references softens what they show; this gives the blend back the strength of detail they had.

Only the amplitude of what is already there grows: no edge is drawn that the blend does not have, and nothing moves.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

MOST = 1.8  # largest factor
LEAST_STRENGTH = 1e-5  # squared luma below which there is no detail to speak of


def restore_detail(blended: Tensor, weights: Tensor, pixels: Tensor, step: int) -> Tensor:
    """Raise the detail of a blend to the strength its references had.

    Args:
        blended: (3, h, w), the sum of weights x pixels.  weights: (N, h, w), sums to 1.  pixels: (N, 3, h, w), aligned.
        step:    pixels a latent; what differs from the smooth mean over so many pixels is detail. h and w are multiples of it.
    Returns:
        (3, h, w); ``blended`` itself where one reference has all the weight.
    """
    detail = fine_part(blended[None], step)[0]
    luma = fine_part(pixels.mean(dim=1, keepdim=True), step)[:, 0]  # (N, h, w)
    wanted = local_mean((weights * luma.square()).sum(dim=0), step)
    own = local_mean(detail.mean(dim=0).square(), step)  # (h / step, w / step)
    factor = ((wanted + LEAST_STRENGTH) / (own + LEAST_STRENGTH)).sqrt().clamp(1.0, MOST)
    return blended + (enlarge(factor[None, None], step)[0] - 1.0) * detail


def fine_part(image: Tensor, step: int) -> Tensor:
    """(N, C, h, w) minus its smooth version on a grid ``step`` times coarser."""
    return image - enlarge(F.avg_pool2d(image, step), step)


def local_mean(values: Tensor, step: int) -> Tensor:
    """(h, w) to (h / step, w / step): mean over three by three latents."""
    return F.avg_pool2d(F.avg_pool2d(values[None, None], step), 3, stride=1, padding=1, count_include_pad=False)[0, 0]


def enlarge(image: Tensor, step: int) -> Tensor:
    """(N, C, h, w) to (N, C, h step, w step), bilinear."""
    return F.interpolate(image, scale_factor=step, mode="bilinear", align_corners=False)
