"""Weighted similarity alignment of point sets, in closed form, for many frames at once (Umeyama 1991)."""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor


def align_similarity(source: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity that carries source onto target with the least weighted squared distance.

    Args:
        source: (T, K, 3) or (K, 3).
        target: (T, K, 3) or (K, 3), the same units on all axes.
        weight: (K,) or (T, K), non-negative.
    Returns:
        rotation (T, 3, 3), scale (T,), translation (T, 3) with target = scale * rotation @ source + translation.
    """
    source, target = torch.broadcast_tensors(*(x if x.ndim == 3 else x[None] for x in (source, target)))
    weight = weight.expand(source.shape[:2])
    weight = rearrange(weight / weight.sum(1, keepdim=True), "t k -> t k 1")
    source_centre, target_centre = (source * weight).sum(1), (target * weight).sum(1)
    a, b = source - source_centre[:, None], target - target_centre[:, None]  # (T, K, 3)
    covariance = einsum(b * weight, a, "t k i, t k j -> t i j")
    left, singular, right = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular)
    sign[:, 2] = torch.sign(torch.linalg.det(left @ right))
    rotation = left @ torch.diag_embed(sign) @ right
    scale = (singular * sign).sum(1) / (weight * a.square()).sum((1, 2)).clamp_min(1e-12)
    translation = target_centre - scale[:, None] * einsum(rotation, source_centre, "t i j, t j -> t i")
    return rotation, scale, translation


def scale_and_shift(source: Tensor, target: Tensor, rotation: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Size and place of a similarity whose rotation is known: the least weighted squared distance in x and y.

    Args:
        source: (T, K, 3) or (K, 3).
        target: (T, K, 3).
        rotation: (T, 3, 3).
        weight: (K,), non-negative.
    Returns:
        scale (T,), positive, and translation (T, 3) with target = scale * rotation @ source + translation; depth fits the means.
    """
    turned = einsum(rotation, source if source.ndim == 3 else source[None].expand(len(target), -1, -1), "t i j, t k j -> t k i")
    weight = rearrange(weight / weight.sum(), "k -> k 1")
    turned_centre, target_centre = (turned * weight).sum(1), (target * weight).sum(1)
    a, b = (turned - turned_centre[:, None])[..., :2], (target - target_centre[:, None])[..., :2]
    scale = ((a * b * weight).sum((1, 2)) / (a.square() * weight).sum((1, 2)).clamp_min(1e-12)).clamp_min(1e-6)
    return scale, target_centre - scale[:, None] * turned_centre
