"""Texture sampling, variant ``aligned``: references are warped onto the target through the mesh, then attended to.

Deviation from the paper (measured better): the correspondence that the paper's attention has to find in the latent is
already known to a fraction of a pixel, so a query meets one key in each reference, and the attention weights are
carried to full-resolution reference pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.face_model import FaceModel
from .correspondence import Surface, Window, corresponding_positions, sample_at
from .dual_attention import ReferenceAttention, aligned_weights, blend, fuse, seen_weights
from .encoded_references import EncodedReferences
from .regions import LIP_BOX_MARGIN, mouth_vertices
from .visibility import pixels_per_unit


def lip_window(points: Tensor, face_model: FaceModel, size: int, step: int) -> Window:
    """The rectangle in which Lip-Attention works: mouth vertices (V, 3) of one target plus a margin, on multiples of ``step`` pixels."""
    mouth = points[mouth_vertices(face_model), :2]
    margin = LIP_BOX_MARGIN * float(pixels_per_unit(points[None], face_model)) + 2 * step
    low = ((mouth.amin(dim=0) - margin) / step).floor().clamp(0, size // step - 1).long() * step
    high = ((mouth.amax(dim=0) + margin) / step).ceil().clamp(1, size // step).long() * step
    high = torch.maximum(high, low + step)
    return Window(int(low[1]), int(high[1]), int(low[0]), int(high[0]))


def attend(
    attention: ReferenceAttention, query: Tensor, bias: Tensor, surface: Surface, references: EncodedReferences,
    key: Tensor, value: Tensor, window: Window | None, colour: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One attention layer over aligned references inside a window.

    Args:
        query:  (D, L, L) of the target.  bias: (N,) geometric logits.  surface: the drawn target.
        key, value: (N, D, L, L) of the references, not aligned yet.  window: pixels to work on; None for all.
        colour: (image (3, H, W), weight (H, W)): references are shifted to its mean colour under that weight.
    Returns:
        pixels (3, h, w) and latent (D, h / step, w / step) of the window.
    """
    size, latent = references.pixels.shape[-1], query.shape[-1]
    step = size // latent
    positions, seen = corresponding_positions(surface, references.points, references.seen, window)
    pixels = sample_at(references.pixels, positions)  # (N, 3, h, w)
    if colour is not None:
        pixels = pixels + colour_shift(pixels, seen, *colour)
    coarse = F.avg_pool2d(positions, step)  # (N, 2, h / step, w / step)
    aligned = sample_at(torch.cat([key, value], dim=1), coarse, scale=latent / size)
    aligned_key, aligned_value = aligned.chunk(2, dim=1)
    near = query if window is None else window.scaled(step).cut(query)
    weights = aligned_weights(near, aligned_key, bias)
    sampled = blend(seen_weights(weights, F.avg_pool2d(seen[:, None], step)[:, 0]), aligned_value)
    fine = F.interpolate(weights[None], scale_factor=step, mode="bilinear", align_corners=False)[0]
    return blend(seen_weights(fine, seen), pixels), sampled


def colour_shift(pixels: Tensor, seen: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """What each reference lacks in mean colour: (N, 3, 1, 1) from pixels (N, 3, h, w), seen (N, h, w), target (3, h, w), weight (h, w)."""
    used = (seen * weight)[:, None]  # (N, 1, h, w)
    total = used.sum(dim=(-2, -1), keepdim=True)
    shift = ((target - pixels) * used).sum(dim=(-2, -1), keepdim=True) / total.clamp_min(1e-6)
    return torch.where(total > 1.0, shift, torch.zeros_like(shift))


def sample_aligned(
    lip_attention: ReferenceAttention, face_attention: ReferenceAttention, lip_query: Tensor, face_query: Tensor,
    lip_bias: Tensor, face_bias: Tensor, surface: Surface, points: Tensor, mask: Tensor,
    lip: EncodedReferences, face: EncodedReferences, face_model: FaceModel, dense: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Dual attention of one target frame over aligned references (eq. 4).

    Args:
        lip_query, face_query: (D, L, L).  lip_bias (N_l,), face_bias (N_f,).  points: (V, 3) of the target.
        mask:  (1, R, R) lip mask M^l.  dense: work on the whole crop instead of on the lip window (the slow twin).
    Returns:
        pixels (3, R, R) and latent (D, L, L).
    """
    size, latent = mask.shape[-1], face_query.shape[-1]
    step = size // latent
    pixels, sampled = attend(face_attention, face_query, face_bias, surface, face, face.face_key, face.face_value, None)
    window = Window(0, size, 0, size) if dense else lip_window(points, face_model, size, step)
    inside = window.cut(mask)
    ring = (4.0 * inside * (1.0 - inside))[0]
    colour = (window.cut(pixels), ring)
    lip_pixels, lip_sampled = attend(lip_attention, lip_query, lip_bias, surface, lip, lip.lip_key, lip.lip_value, window, colour)
    pixels, sampled = pixels.clone(), sampled.clone()
    rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
    pixels[:, rows, columns] = fuse(lip_pixels, window.cut(pixels), inside)
    coarse = window.scaled(step)
    rows, columns = slice(coarse.top, coarse.bottom), slice(coarse.left, coarse.right)
    sampled[:, rows, columns] = fuse(lip_sampled, coarse.cut(sampled), F.avg_pool2d(inside, step))
    return pixels, sampled
