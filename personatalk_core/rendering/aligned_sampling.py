"""Texture sampling, variant ``aligned``: references are warped onto the target through the mesh, then attended to.

Deviation from the paper (measured better): the correspondence that the paper's attention has to find in the latent is
already known to a fraction of a pixel, so a query meets one key in each reference, and the attention weights are
carried to full-resolution reference pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.face_model import FaceModel
from .correspondence import Surface, Window, corresponding_positions, sample_at
from .detail import restore_detail
from .dual_attention import aligned_weights, blend, fuse, geometric_logits, matters, seen_weights
from .encoded_references import EncodedReferences
from .regions import LIP_BOX_MARGIN, mouth_vertices
from .visibility import pixels_per_unit

KERNEL = "bicubic"  # for pixels: bilinear reading alone costs a fifth of the finest detail


@dataclass(frozen=True, eq=False)
class Queries:
    """One target's side of one attention layer.

    query (D, L, L), already divided by sqrt(D).  sharpness (2, L, L).  difference (N, 2): mouth shape and pose to each
    reference.  allowed (N,) bool or None: all.
    """

    query: Tensor
    sharpness: Tensor
    difference: Tensor
    allowed: Tensor | None = None

    def logits(self, window: Window) -> Tensor:
        """Geometric logits (N, h, w) inside a window of latents."""
        return geometric_logits(window.cut(self.sharpness), self.difference, self.allowed)


def vertex_window(places: Tensor, margin: float, size: int, step: int) -> Window:
    """The rectangle around places (K, 2) in crop pixels plus a margin, on multiples of ``step`` pixels inside the crop."""
    low = ((places.amin(dim=0) - margin) / step).floor().clamp(0, size // step - 1).long() * step
    high = ((places.amax(dim=0) + margin) / step).ceil().clamp(1, size // step).long() * step
    high = torch.maximum(high, low + step)
    return Window(int(low[1]), int(high[1]), int(low[0]), int(high[0]))


def lip_window(points: Tensor, face_model: FaceModel, size: int, step: int) -> Window:
    """Where Lip-Attention works: the mouth vertices of one target (V, 3), everything the lip mask reaches, and two latents more."""
    margin = LIP_BOX_MARGIN * float(pixels_per_unit(points[None], face_model)) + 2 * step
    return vertex_window(points[mouth_vertices(face_model), :2], margin, size, step)


def attend(
    queries: Queries, surface: Surface, references: EncodedReferences, key_value: Tensor, window: Window,
    colour: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One attention layer over aligned references inside a window.

    Args:
        surface:    the drawn target.
        references: N frames; their pixels are sampled.  key_value: (N, 2 D, L, L) keys, then values, not aligned yet.
        window:     pixels to work on.
        colour:     (image (3, h, w), weight (h, w)): references are shifted to its mean colour under that weight.
    Returns:
        pixels (3, h, w) and latent (D, h / step, w / step) of the window.
    """
    size, latent = references.pixels.shape[-1], queries.query.shape[-1]
    step = size // latent
    positions, seen = corresponding_positions(surface, references.points, references.seen, window)
    pixels = sample_at(references.pixels, positions, mode=KERNEL)  # (N, 3, h, w)
    if colour is not None:
        pixels = pixels + colour_shift(pixels, seen, *colour)
    coarse = F.avg_pool2d(positions, step)  # (N, 2, h / step, w / step)
    key, value = sample_at(key_value, coarse, scale=latent / size).chunk(2, dim=1)
    near = window.scaled(step)
    weights = aligned_weights(near.cut(queries.query), key, queries.logits(near))
    sampled = blend(seen_weights(weights, F.avg_pool2d(seen[:, None], step)[:, 0]), value)
    fine = F.interpolate(weights[None], scale_factor=step, mode="bilinear", align_corners=False)[0]
    fine = seen_weights(fine, seen)
    blended = blend(fine, pixels)
    return restore_detail(blended, fine, pixels, step), sampled


def colour_shift(pixels: Tensor, seen: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """What each reference lacks in mean colour: (N, 3, 1, 1) from pixels (N, 3, h, w), seen (N, h, w), target (3, h, w), weight (h, w)."""
    used = (seen * weight)[:, None]  # (N, 1, h, w)
    total = used.sum(dim=(-2, -1), keepdim=True)
    shift = ((target - pixels) * used).sum(dim=(-2, -1), keepdim=True) / total.clamp_min(1e-6)
    return torch.where(total > 1.0, shift, torch.zeros_like(shift))


def sample_aligned(
    lip_queries: Queries, face_queries: Queries, surface: Surface, points: Tensor, mask: Tensor, lip: EncodedReferences,
    face: EncodedReferences, face_model: FaceModel, dense: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Dual attention of one target frame over aligned references (eq. 4).

    Args:
        points: (V, 3) of the target.  mask: (1, R, R) lip mask M^l.
        dense:  the slow twin: both layers over the whole crop and every lip reference.
    Returns:
        pixels (3, R, R) and latent (D, L, L). Where no mesh is drawn: the pixels of the face reference most alike, and 0.
    """
    size, latent = mask.shape[-1], face_queries.query.shape[-1]
    step = size // latent
    whole = Window(0, size, 0, size)
    mesh = surface.mesh[None].to(mask.dtype)  # (1, R, R)
    window = whole if dense else vertex_window(points[:, :2], 2 * step, size, step)
    seen_pixels, seen_latent = attend(face_queries, surface, face, face.face_key_value, window)
    pixels = face.pixels[int(face_queries.logits(whole.scaled(step)).mean(dim=(1, 2)).argmax())].clone()
    window.paste(pixels, fuse(seen_pixels, window.cut(pixels), window.cut(mesh)))
    sampled = seen_latent.new_zeros(seen_latent.shape[0], latent, latent)
    window.scaled(step).paste(sampled, seen_latent * (F.avg_pool2d(window.cut(mesh), step) > 0))

    window = whole if dense else lip_window(points, face_model, size, step)
    inside, coarse = window.cut(mask), window.scaled(step)
    if not dense:
        kept = matters(lip_queries.logits(coarse))
        lip, allowed = lip[kept], None if lip_queries.allowed is None else lip_queries.allowed[kept]
        lip_queries = Queries(lip_queries.query, lip_queries.sharpness, lip_queries.difference[kept], allowed)
    ring = (4.0 * inside * (1.0 - inside))[0]
    lip_pixels, lip_latent = attend(lip_queries, surface, lip, lip.lip_key_value, window, (window.cut(pixels), ring))
    window.paste(pixels, fuse(lip_pixels, window.cut(pixels), inside))
    coarse.paste(sampled, fuse(lip_latent, coarse.cut(sampled), F.avg_pool2d(inside, step)))
    return pixels, sampled
