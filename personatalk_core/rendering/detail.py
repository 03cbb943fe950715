"""Blending several references softens what they show; this takes texture from the nearest ones and gives it
back its strength.

Colour and light stay those of the blend. No edge is drawn that no reference has, and nothing moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .fast.window import mean_channel, mean_pool
from .surface import AlignedReferences

# power of the weights that texture finer than a latent, such as the gaps between teeth, is blended by
TEXTURE_POWER = 1.25
MAX_GAIN = 3.0  # times the finest detail is added to a blend, at most
BLENDED = 0.02  # more than its references' strength is given back to a blend
DETAIL_REACH = 3  # latents around a pixel that its detail depends on
MIN_STRENGTH = 1e-7  # squared luma below which there is no detail to speak of
THIN = 2  # pixels: gaps between the lips that are nowhere higher are softened
TAPS = (1.0, 4.0, 6.0, 4.0, 1.0)


def blend(sets: Sequence[Tensor], values: Tensor, shift: Tensor | None = None) -> list[Tensor]:
    """Weighted sums over references, for each of several sets of weights.

    Args:
        sets:   weights (B, N, h, w).
        values: (B, N, C, h, w).
        shift:  (B, N, C) added to the values, or None.
    Returns:
        (B, C, h, w) of each set.
    """
    totals = [weights[:, :1] * values[:, 0] for weights in sets]
    for n in range(1, values.shape[1]):  # one after the other stays in the processor's cache
        totals = [
            torch.addcmul(total, weights[:, n : n + 1], values[:, n])
            for total, weights in zip(totals, sets, strict=True)
        ]
    if shift is None:
        return totals
    return [
        total + (shift.mT @ weights.flatten(2)).view_as(total)
        for total, weights in zip(totals, sets, strict=True)
    ]


def blend_in_detail(
    weights: Tensor, pixels: Tensor, strength: Tensor, step: int, shift: Tensor | None = None
) -> Tensor:
    """Blend references, with texture of the nearest ones, the finest detail raised to the strength they had
    in their own frames.

    Args:
        weights:  (B, N, h, w), sums to 1 over N.
        pixels:   (B, N, 3, h, w), aligned.  shift: (B, N, 3) colours added to them, or None.
        strength: (B, N, h / step, w / step) of :func:`fine_strength`, aligned: taken before pixels were
            warped, which softens them.
        step:     pixels a latent, over which strength is compared. h and w are multiples of it.
    Returns:
        (B, 3, h, w); a reference's own pixels where it, read at whole pixels, has all the weight.
    """
    # colour and light of the blend, texture of the references with the largest weights
    sharper = weights.clamp_min(0).pow(TEXTURE_POWER)
    sharper = sharper / sharper.sum(dim=1, keepdim=True).clamp_min(1e-9)
    blended, texture = blend((weights, sharper), pixels, shift)
    change = texture - blended
    blended = blended + change - _enlarged(mean_pool(change, step), step)

    # the finest detail as strong as in the references' own frames
    detail = fine_part(blended)
    shared = 1.0 - mean_pool(sharper.square().sum(dim=1, keepdim=True), step)  # 0 for one reference
    expected = around((mean_pool(sharper, step) * strength).sum(dim=1, keepdim=True))
    gain = detail_gain(detail, (1.0 + BLENDED * shared).square() * expected, step)
    return torch.addcmul(blended, _enlarged(gain, step), detail)


def blend_aligned(
    weights: Tensor, aligned: AlignedReferences, lip_mask: Tensor, surroundings: Tensor | None = None
) -> Tensor:
    """Blend aligned references into pictures (B, 3, R, R) by weights (B, N, R, R).

    surroundings (B, 3, R, R): along the outline of the lip mask (B, 1, R, R) each reference gets their mean
    colour.
    """
    shift, step = None, weights.shape[-1] // aligned.strength.shape[-1]
    if surroundings is not None:
        outline = 4.0 * lip_mask * (1.0 - lip_mask)
        shift = colour_shift(aligned.pixels, aligned.visibility, surroundings, outline)
    return blend_in_detail(weights, aligned.pixels, aligned.strength, step, shift)


def colour_shift(pixels: Tensor, visibility: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """What each reference lacks in mean colour.

    Args:
        pixels:     (B, N, 3, h, w), aligned.  visibility: (B, N, h, w).
        target:     (B, 3, h, w), whose mean colour it should have.
        weight:     (B, 1, h, w) >= 0, where colours are compared.
    Returns:
        (B, N, 3); 0 where next to nothing can be compared.
    """
    used = rearrange(visibility * weight, "b n h w -> b n (h w) 1")
    total = used.sum(dim=2)  # (B, N, 1)
    expected = used[..., 0] @ rearrange(target, "b c h w -> b (h w) c")  # (B, N, 3)
    found = rearrange(pixels, "b n c h w -> b n c (h w)") @ used  # (B, N, 3, 1)
    shift = (expected - found[..., 0]) / total.clamp_min(1e-6)
    return torch.where(total > 1.0, shift, torch.zeros_like(shift))


def detail_gain(detail: Tensor, expected: Tensor, step: int) -> Tensor:
    """How many times a picture's finest detail must be added to it to be as strong as expected, 0 to
    MAX_GAIN: (B, 1, h / step, w / step).

    The detail of d, added to a picture, is not d: what lies between fine and coarse is added but partly seen.
    With d' the detail of d, a picture plus g times its detail has the detail d + g d', whose mean square is
    to be the expected one: a quadratic in g.

    Args:
        detail:   (B, 3, h, w) of :func:`fine_part`.
        expected: (B, 1, h / step, w / step), mean squares of luma.
    """
    once, twice = mean_channel(detail), mean_channel(fine_part(detail))
    squares = (around(mean_pool(product, step)) for product in (twice * twice, once * twice, once * once))
    second, both, first = squares
    root = (both.square() + second * (expected - first)).clamp_min(MIN_STRENGTH**2).sqrt()
    return ((root - both) / (second + MIN_STRENGTH)).clamp(0.0, MAX_GAIN)


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


def _enlarged(values: Tensor, step: int) -> Tensor:
    return F.interpolate(values, scale_factor=step, mode="bilinear", align_corners=False)


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
    gap, lips = cavity[top:bottom, left:right], pixels[:, top:bottom, left:right]
    taps = lips.new_tensor(TAPS) / sum(TAPS)
    kernel = (taps[:, None] * taps)[None, None]
    soft = F.conv2d(F.pad(lips[:, None], (reach,) * 4, mode="replicate"), kernel)[:, 0]
    near_gap = F.max_pool2d(gap[None].to(lips.dtype), 2 * reach + 1, stride=1, padding=reach)
    pixels[:, top:bottom, left:right] = torch.where(near_gap > 0, soft, lips)
