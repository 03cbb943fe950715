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
