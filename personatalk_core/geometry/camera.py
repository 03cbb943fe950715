"""Scaled orthographic camera: canonical vertices to image pixels, differentiable, vectorised over time.

With R = exp(rotation) and c = scale:  x = c (R X)_x + t_x,  y = -c (R X)_y + t_y,  depth = c (R X)_z, larger
is nearer.
"""

from __future__ import annotations

import torch
from einops import einsum, rearrange
from torch import Tensor

from ..checks import check_shape

# below it sin(a)/a and (1 - cos a)/a^2 come from their series, which keeps gradients finite
SMALL_ANGLE_SQUARED = 1e-6


def rotation_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula.

    Args:
        axis_angle: (T, 3) radians.
    Returns:
        (T, 3, 3) rotation matrices.
    """
    squared = axis_angle.square().sum(-1)  # (T,)
    small = squared < SMALL_ANGLE_SQUARED
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    first = torch.where(small, 1 - squared / 6, torch.sin(angle) / angle)
    second = torch.where(small, 0.5 - squared / 24, (1 - torch.cos(angle)) / angle.square())
    x, y, z = axis_angle.unbind(-1)
    zero = torch.zeros_like(x)
    cross = rearrange(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1), "t (i j) -> t i j", i=3)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + first[:, None, None] * cross + second[:, None, None] * (cross @ cross)


def axis_angle(rotation: Tensor) -> Tensor:
    """The inverse of :func:`rotation_matrix` for angles below pi: (T, 3, 3) to (T, 3) radians."""
    cosine = ((rotation.diagonal(dim1=1, dim2=2).sum(1) - 1) / 2).clamp(-1, 1)
    odd = (rotation - rotation.mT) / 2  # sine times the cross-product matrix of the axis
    axis = torch.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], 1)
    sine = axis.norm(dim=1)
    angle = torch.atan2(sine, cosine)
    return axis * torch.where(sine > 1e-6, angle / sine.clamp_min(1e-6), torch.ones_like(sine))[:, None]


def project(vertices: Tensor, rotation: Tensor, translation: Tensor, scale: Tensor) -> Tensor:
    """Canonical vertices to image coordinates.

    Args:
        vertices:    (T, V, 3) canonical units.
        rotation:    (T, 3) axis-angle, radians.
        translation: (T, 2) image pixels.
        scale:       (T,) pixels a canonical unit.
    Returns:
        (T, V, 3): x, y and depth in pixels.
    Raises:
        ShapeError: the frame counts differ.
    """
    frames = check_shape("vertices", vertices, "T", "V", 3)["T"]
    check_shape("rotation", rotation, frames, 3)
    check_shape("translation", translation, frames, 2)
    check_shape("scale", scale, frames)
    x, y, z = einsum(
        rotation_matrix(rotation) * scale[:, None, None], vertices, "t i j, t v j -> t v i"
    ).unbind(-1)
    return torch.stack([x + translation[:, :1], translation[:, 1:] - y, z], -1)


def align_similarity(source: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The similarity that carries source onto target with the least weighted squared distance.

    Args:
        source: (T, K, 3) or (K, 3).
        target: (T, K, 3) or (K, 3), the same units on all axes.
        weight: (K,) or (T, K), non-negative.
    Returns:
        rotation (T, 3, 3), scale (T,), translation (T, 3) with target = scale * rotation @ source +
        translation.
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


def scale_and_shift(
    source: Tensor, target: Tensor, rotation: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Size and place of a similarity whose rotation is known: the least weighted squared distance in x and y.

    Args:
        source: (T, K, 3) or (K, 3).
        target: (T, K, 3).
        rotation: (T, 3, 3).
        weight: (K,), non-negative.
    Returns:
        scale (T,), positive, and translation (T, 3) with target = scale * rotation @ source + translation;
        depth fits the means.
    """
    turned = einsum(
        rotation,
        source if source.ndim == 3 else source[None].expand(len(target), -1, -1),
        "t i j, t k j -> t k i",
    )
    weight = rearrange(weight / weight.sum(), "k -> k 1")
    turned_centre, target_centre = (turned * weight).sum(1), (target * weight).sum(1)
    a, b = (turned - turned_centre[:, None])[..., :2], (target - target_centre[:, None])[..., :2]
    scale = ((a * b * weight).sum((1, 2)) / (a.square() * weight).sum((1, 2)).clamp_min(1e-12)).clamp_min(
        1e-6
    )
    return scale, target_centre - scale[:, None] * turned_centre
