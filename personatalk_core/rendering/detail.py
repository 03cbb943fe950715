"""Blending several references softens what they show; this takes texture from the likest ones and gives it
back its strength.

Colour and light stay those of the blend. No edge is drawn that no reference has, and nothing moves.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .dual_attention import blend
from .pooling import mean_channel, mean_pool

# power of the weights that texture finer than a latent, such as the gaps between teeth, is blended by
LIKEST = 1.25
MOST = 3.0  # times the finest detail is added to a blend, at most
BLENDED = 0.02  # more than its references' strength is given back to a blend
DETAIL_REACH = 3  # latents around a pixel that its detail depends on
LEAST_STRENGTH = 1e-7  # squared luma below which there is no detail to speak of


def blend_in_detail(
    weights: Tensor, pixels: Tensor, strength: Tensor, step: int, shift: Tensor | None = None
) -> Tensor:
    """Blend references, with texture of the likest ones, the finest detail raised to the strength they had in
    their own frames.

    Args:
        weights:  (B, N, h, w), sums to 1 over N.
        pixels:   (B, N, 3, h, w), aligned.  shift: (B, N, 3) colours added to them, or None.
        strength: (B, N, h / step, w / step) of :func:`fine_strength`, aligned: taken before pixels were
            carried, which softens them.
        step:     pixels a latent, over which strength is compared. h and w are multiples of it.
    Returns:
        (B, 3, h, w); a reference's own pixels where it, read at whole pixels, has all the weight.
    """
    likest = weights.clamp_min(0).pow(LIKEST)
    likest = likest / likest.sum(dim=1, keepdim=True).clamp_min(1e-9)
    blended, texture = blend((weights, likest), pixels, shift)
    change = texture - blended
    coarse = mean_pool(change, step)
    blended = (
        blended + change - F.interpolate(coarse, scale_factor=step, mode="bilinear", align_corners=False)
    )
    detail = fine_part(blended)
    shared = 1.0 - mean_pool(
        likest.square().sum(dim=1, keepdim=True), step
    )  # (B, 1, h / step, w / step): 0 for one reference
    wanted = (1.0 + BLENDED * shared).square() * around(
        (mean_pool(likest, step) * strength).sum(dim=1, keepdim=True)
    )
    more = F.interpolate(
        detail_missing(detail, wanted, step), scale_factor=step, mode="bilinear", align_corners=False
    )
    return torch.addcmul(blended, more, detail)


def detail_missing(detail: Tensor, wanted: Tensor, step: int) -> Tensor:
    """How many times a picture's finest detail must be added to it to be as strong as wanted, 0 to MOST: (B,
    1, h / step, w / step).

    The detail of d, added to a picture, is not d: what lies between fine and coarse is added but partly seen.
    With d' the detail of d, a picture plus g times its detail has the detail d + g d', whose mean square is
    to be the wanted one: a quadratic in g.

    Args:
        detail: (B, 3, h, w) of :func:`fine_part`.  wanted: (B, 1, h / step, w / step), mean squares of luma.
    """
    once, twice = mean_channel(detail), mean_channel(fine_part(detail))
    squares = (around(mean_pool(product, step)) for product in (twice * twice, once * twice, once * once))
    second, both, first = squares
    root = (both.square() + second * (wanted - first)).clamp_min(LEAST_STRENGTH**2).sqrt()
    return ((root - both) / (second + LEAST_STRENGTH)).clamp(0.0, MOST)


def fine_part(image: Tensor) -> Tensor:
    """(N, C, h, w) minus its mean under the binomial weights 1 2 1, down and across."""
    wide = F.pad(image, (1, 1, 1, 1), mode="replicate")
    for _ in range(2):  # 1 1 twice is 1 2 1
        wide = wide[..., 1:] + wide[..., :-1]
        wide = wide[..., 1:, :] + wide[..., :-1, :]
    return image - wide / 16.0


def fine_strength(image: Tensor, step: int) -> Tensor:
    """Mean square of the finest luma detail of (N, C, h, w) in each latent: (N, h / step, w / step)."""
    return mean_pool(fine_part(mean_channel(image)).square(), step)[:, 0]


def around(values: Tensor) -> Tensor:
    """(B, C, h, w), each value the mean of the three by three around it."""
    return F.avg_pool2d(values, 3, stride=1, padding=1, count_include_pad=False)


THIN = 2  # pixels: gaps that are nowhere higher are softened
TAPS = (1.0, 4.0, 6.0, 4.0, 1.0)


def soften_hairlines(pixels: Tensor, cavity: Tensor) -> Tensor:
    """Soften the lines between nearly closed lips, across them and, where they step from row to row, along
    them.

    Args:
        pixels: (B, 3, H, W) in [0, 1].  cavity: (B, H, W) bool, where the inside of the mouth is drawn.
    Returns:
        (B, 3, H, W): a picture is as it was where the mouth is open by more than THIN pixels anywhere, or not
        drawn.
    """
    height = cavity.sum(dim=1).amax(dim=1)  # (B,)
    thin = ((height > 0) & (height <= THIN)).nonzero()[:, 0].tolist()
    if not thin:
        return pixels
    pixels = pixels.clone()
    for b in thin:
        _soften(pixels[b], cavity[b])
    return pixels


def _soften(pixels: Tensor, cavity: Tensor) -> None:
    """Soften one picture (3, H, W), whose cavity (H, W) is a thin line, in place."""
    rows, columns = cavity.any(dim=1).nonzero()[:, 0], cavity.any(dim=0).nonzero()[:, 0]
    reach = len(TAPS) // 2
    top, bottom = max(0, int(rows[0]) - 2 * reach), int(rows[-1]) + 2 * reach + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    gap, part = cavity[top:bottom, left:right], pixels[:, top:bottom, left:right]
    taps = part.new_tensor(TAPS) / sum(TAPS)
    soft = F.conv2d(F.pad(part[:, None], (reach,) * 4, mode="replicate"), (taps[:, None] * taps)[None, None])[
        :, 0
    ]
    near = F.max_pool2d(gap[None].to(part.dtype), 2 * reach + 1, stride=1, padding=reach)
    pixels[:, top:bottom, left:right] = torch.where(near > 0, soft, part)
