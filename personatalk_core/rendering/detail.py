"""Blending several references softens what they show; this takes texture from the likest ones and gives it back its strength.

Colour and light stay those of the blend. No edge is drawn that no reference has, and nothing moves.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .dual_attention import blend

LIKEST = 2  # power of the weights that texture finer than a latent, such as the gaps between teeth, is blended by
MOST = 2.5  # largest factor
BLENDED = 0.3  # more than its references' strength is given back to a blend: coarser detail, which is lost as well, is not
DETAIL_REACH = 3  # latents around a pixel that its detail depends on
LEAST_STRENGTH = 1e-6  # squared luma below which there is no detail to speak of


def restore_detail(blended: Tensor, weights: Tensor, pixels: Tensor, strength: Tensor, step: int) -> Tensor:
    """Texture of the likest references into a blend, its finest detail raised to the strength they had in their own frames.

    Args:
        blended:  (3, h, w), the sum of weights x pixels.  weights: (N, h, w), sums to 1.  pixels: (N, 3, h, w), aligned.
        strength: (N, h / step, w / step) of :func:`fine_strength`, aligned: taken before pixels were carried, which softens them.
        step:     pixels a latent, over which strength is compared. h and w are multiples of it.
    Returns:
        (3, h, w); ``blended`` itself where one reference, read at whole pixels, has all the weight.
    """
    likest = weights.clamp_min(0).pow(LIKEST)
    likest = likest / likest.sum(dim=0, keepdim=True).clamp_min(1e-9)
    change = blend(likest, pixels) - blended
    coarse = F.avg_pool2d(change[None], step)
    blended = blended + change - F.interpolate(coarse, scale_factor=step, mode="bilinear", align_corners=False)[0]
    detail = fine_part(blended[None])[0]
    shared = 1.0 - F.avg_pool2d(likest.square().sum(dim=0)[None], step)[0]  # (h / step, w / step): 0 for one reference, to 1 for many
    wanted = (1.0 + BLENDED * shared).square() * around((F.avg_pool2d(likest[None], step)[0] * strength).sum(dim=0))
    own = around(fine_strength(blended[None], step)[0])
    factor = ((wanted + LEAST_STRENGTH) / (own + LEAST_STRENGTH)).sqrt().clamp(1.0, MOST)
    return blended + (F.interpolate(factor[None, None], scale_factor=step, mode="bilinear", align_corners=False)[0] - 1.0) * detail


def fine_part(image: Tensor) -> Tensor:
    """(N, C, h, w) minus its mean under the binomial weights 1 2 1, down and across."""
    wide = F.pad(image, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):  # 1 1 twice is 1 2 1
        wide = wide[..., 1:] + wide[..., :-1]
        wide = wide[..., 1:, :] + wide[..., :-1, :]
    return image - wide / 16.0


def fine_strength(image: Tensor, step: int) -> Tensor:
    """Mean square of the finest luma detail of (N, C, h, w) in each latent: (N, h / step, w / step)."""
    return F.avg_pool2d(fine_part(image.mean(dim=1, keepdim=True)).square(), step)[:, 0]


def around(values: Tensor) -> Tensor:
    """(h, w), each value the mean of the three by three around it."""
    return F.avg_pool2d(values[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]
