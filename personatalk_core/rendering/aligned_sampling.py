"""Texture sampling, variant ``aligned``: references are warped onto the target through the mesh, then attended to.

Deviation from the paper (measured better): the correspondence that the paper's attention has to find in the latent is
already known to a fraction of a pixel, so a query meets one key in each reference, and the attention weights are
carried to full-resolution reference pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..geometry.face_model import FaceModel
from .carried_pixels import carry_pixels
from .correspondence import Surface, Window, bounding_window, corresponding_positions, sample_rows
from .detail import DETAIL_REACH, restore_detail
from .dual_attention import aligned_weights, blend, fuse, geometric_logits, seen_weights
from .encoded_references import LentReferences
from .local_linear import corrected


@dataclass(frozen=True, eq=False)
class Queries:
    """One target's side of one attention layer.

    query (D, L, L), already divided by sqrt(D).  sharpness (2, L, L).  difference (N, 2): mouth shape and pose to each
    reference.  allowed (N,) bool or None: all.  correction (N,) of :func:`local_linear.linear_correction`, or None.
    """

    query: Tensor
    sharpness: Tensor
    difference: Tensor
    allowed: Tensor | None = None
    correction: Tensor | None = None

    def logits(self, window: Window) -> Tensor:
        """Geometric logits (N, h, w) inside a window of latents."""
        return geometric_logits(window.cut(self.sharpness), self.difference, self.allowed)


def vertex_window(places: Tensor, margin: float, size: int, step: int) -> Window:
    """The rectangle around places (K, 2) in crop pixels plus a margin, on multiples of ``step`` pixels inside the crop."""
    low = ((places.amin(dim=0) - margin) / step).floor().clamp(0, size // step - 1).long() * step
    high = ((places.amax(dim=0) + margin) / step).ceil().clamp(1, size // step).long() * step
    high = torch.maximum(high, low + step)
    return Window(int(low[1]), int(high[1]), int(low[0]), int(high[0]))


def lip_window(mask: Tensor, step: int) -> Window:
    """Where Lip-Attention works: what the lip mask (1, R, R) reaches, and the latents that restoring detail there looks at."""
    return bounding_window(mask[0] > 0, step).grown(DETAIL_REACH * step, *mask.shape[-2:])


def attend(
    queries: Queries, surface: Surface, references: LentReferences, key_value: Tensor, window: Window,
    colour: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One attention layer over aligned references inside a window.

    Args:
        surface:    the drawn target.
        references: N of M frames; their pixels are sampled.  key_value: (M, 2 D, L, L) keys, then values, not aligned yet.
        window:     pixels to work on.
        colour:     (image (3, h, w), weight (h, w)): references are shifted to its mean colour under that weight.
    Returns:
        pixels (3, h, w) and latent (D, h / step, w / step) of the window.
    """
    images, rows = references.whole.pixels, references.rows
    size, latent = images.shape[-1], queries.query.shape[-1]
    step = size // latent
    positions, seen = corresponding_positions(surface, references.points, references.seen, window)
    pixels = carry_pixels(images, rows, positions)  # (N, 3, h, w)
    if colour is not None:
        pixels = pixels + colour_shift(pixels, seen, *colour)
    coarse = F.avg_pool2d(positions, step)  # (N, 2, h / step, w / step)
    key, value = sample_rows(key_value, rows, coarse, scale=latent / size).chunk(2, dim=1)
    near = window.scaled(step)
    weights = corrected(aligned_weights(near.cut(queries.query), key, queries.logits(near)), queries.correction)
    sampled = blend(seen_weights(weights, F.avg_pool2d(seen[:, None], step)[:, 0]), value)
    fine = F.interpolate(weights[None], scale_factor=step, mode="bilinear", align_corners=False)[0]
    fine = seen_weights(fine, seen)
    blended = blend(fine, pixels)
    strength = sample_rows(references.whole.strength, rows, coarse, scale=latent / size)[:, 0]
    return restore_detail(blended, fine, pixels, strength, step), sampled


def colour_shift(pixels: Tensor, seen: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """What each reference lacks in mean colour: (N, 3, 1, 1) from pixels (N, 3, h, w), seen (N, h, w), target (3, h, w), weight (h, w)."""
    used = rearrange(seen * weight, "n h w -> n (h w) 1")
    total = used.sum(dim=1)  # (N, 1)
    wanted = rearrange(used, "n p 1 -> n p") @ rearrange(target, "c h w -> (h w) c")  # (N, 3)
    own = rearrange(pixels, "n c h w -> n c (h w)") @ used  # (N, 3, 1)
    shift = (wanted - own[..., 0]) / total.clamp_min(1e-6)
    return torch.where(total > 1.0, shift, torch.zeros_like(shift))[..., None, None]


def sample_aligned(
    lip_queries: Queries, face_queries: Queries, surface: Surface, points: Tensor, mask: Tensor, lip: LentReferences,
    face: LentReferences, face_model: FaceModel, dense: bool = False, wanted: Window | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Dual attention of one target frame over aligned references (eq. 4).

    Args:
        points: (V, 3) of the target.  mask: (1, R, R) lip mask M^l.
        dense:  the slow twin: both layers over the whole crop.
        wanted: pixels that are asked for, on multiples of R / L; None for all.
    Returns:
        pixels (3, R, R) and latent (D, L, L). Where no mesh is drawn, or nothing is wanted: the pixels of the face reference
        most alike, and 0.
    """
    size, latent = mask.shape[-1], face_queries.query.shape[-1]
    step = size // latent
    whole = Window(0, size, 0, size)
    mesh = surface.mesh[None].to(mask.dtype)  # (1, R, R)
    pixels = face.whole.pixels[face.rows[int((face_queries.difference @ face_queries.sharpness.mean(dim=(1, 2))).argmin())]].clone()
    sampled = face_queries.query.new_zeros(face_queries.query.shape[0], latent, latent)
    window = whole if dense else vertex_window(points[:, :2], 2 * step, size, step).common(wanted or whole)
    if min(window.size) > 0:
        seen_pixels, seen_latent = attend(face_queries, surface, face, face.whole.face_key_value, window)
        window.paste(pixels, fuse(seen_pixels, window.cut(pixels), window.cut(mesh)))
        window.scaled(step).paste(sampled, seen_latent * (F.avg_pool2d(window.cut(mesh), step) > 0))

    window = whole if dense else lip_window(mask, step).common(wanted or whole)
    if min(window.size) == 0:
        return pixels, sampled
    inside, coarse = window.cut(mask), window.scaled(step)
    ring = (4.0 * inside * (1.0 - inside))[0]
    lip_pixels, lip_latent = attend(lip_queries, surface, lip, lip.whole.lip_key_value, window, (window.cut(pixels), ring))
    window.paste(pixels, fuse(lip_pixels, window.cut(pixels), inside))
    coarse.paste(sampled, fuse(lip_latent, coarse.cut(sampled), F.avg_pool2d(inside, step)))
    return pixels, sampled
