"""Texture sampling, variant ``aligned``: references are warped onto the target through the mesh, then
attended to.

Deviation from the paper (measured better): the correspondence that the paper's attention has to find in the
latent is already known to a fraction of a pixel, so a query meets one key in each reference, and the
attention weights are carried to full-resolution reference pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .carried_pixels import warp_references
from .detail import DETAIL_REACH, blend_in_detail
from .dual_attention import aligned_weights, blend, fuse, geometric_logits, seen_weights
from .local_linear import corrected
from .pooling import mean_pool
from .reference_batch import ReferenceBatch
from .surface import Surface, Window, bounding_window, corresponding_positions, sample_rows


@dataclass(frozen=True, eq=False)
class Queries:
    """The targets' side of one attention layer.

    query (B, D, L, L), already divided by sqrt(D).  sharpness (B, 2, L, L).  difference (B, N, 2): mouth
    shape and pose to each reference.  allowed (B, N) bool or None: all.  correction (B, N) of
    :func:`local_linear.linear_correction`, or None.
    """

    query: Tensor
    sharpness: Tensor
    difference: Tensor
    allowed: Tensor | None = None
    correction: Tensor | None = None

    def logits(self, window: Window) -> Tensor:
        """Geometric logits (B, N, h, w) inside a window of latents."""
        return geometric_logits(window.cut(self.sharpness), self.difference, self.allowed)

    def of(self, b: int) -> Queries:
        """One target's, still with its B axis."""
        return Queries(
            *(None if x is None else x[b : b + 1] for x in (getattr(self, f.name) for f in fields(self)))
        )


def vertex_window(places: Tensor, margin: float, size: int, step: int) -> Window:
    """The rectangle around places (..., 2) in crop pixels plus a margin, on multiples of ``step`` pixels
    inside the crop."""
    flat = places.flatten(0, -2)
    (left, top), (right, bottom) = torch.stack([flat.amin(dim=0), flat.amax(dim=0)]).tolist()
    most = size // step
    low = [min(max(math.floor((edge - margin) / step), 0), most - 1) for edge in (top, left)]
    high = [
        max(min(math.ceil((edge + margin) / step), most), first + 1)
        for edge, first in zip((bottom, right), low, strict=True)
    ]
    return Window(low[0], high[0], low[1], high[1]).enlarged(step)


def lip_window(mask: Tensor, step: int) -> Window:
    """Where Lip-Attention works: what lip masks (B, 1, R, R) reach, and the latents that restoring detail
    there looks at."""
    return bounding_window(mask > 0, step).grown(DETAIL_REACH * step, *mask.shape[-2:])


def attend(
    queries: Queries,
    surface: Surface,
    references: ReferenceBatch,
    key_value: Tensor,
    window: Window,
    colour: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One attention layer over aligned references inside a window.

    Args:
        surface:    B drawn targets.
        references: N of M frames for each; their pixels are sampled.  key_value: (M, 2 D, L, L) keys, then
            values, not aligned yet.
        window:     pixels to work on, of all targets.
        colour:     (images (B, 3, h, w), weight (B, 1, h, w)): references are shifted to their mean colour
            under that weight.
    Returns:
        pixels (B, 3, h, w) and latent (B, D, h / step, w / step) of the window.
    """
    images, rows = references.whole.pixels, references.rows.flatten()
    size, latent = images.shape[-1], queries.query.shape[-1]
    step, targets = size // latent, references.rows.shape
    positions, seen = corresponding_positions(surface, references.points, references.seen, window)
    pixels = warp_references(images, rows, positions.flatten(0, 1)).unflatten(0, targets)  # (B, N, 3, h, w)
    shift = None if colour is None else colour_shift(pixels, seen, *colour)
    coarse, some = mean_pool(positions.flatten(0, 1), step), rows.clamp_min(0)  # (B N, 2, h / step, w / step)
    read = sample_rows((key_value, references.whole.strength), some, coarse, scale=latent / size)
    key_value, strength = (x.unflatten(0, targets) for x in read)
    key, value = key_value.chunk(2, dim=2)
    near = window.scaled(step)
    weights = corrected(
        aligned_weights(near.cut(queries.query), key, queries.logits(near)), queries.correction
    )
    (sampled,) = blend([seen_weights(weights, mean_pool(seen, step))], value)
    fine = seen_weights(F.interpolate(weights, scale_factor=step, mode="bilinear", align_corners=False), seen)
    return blend_in_detail(fine, pixels, strength[:, :, 0], step, shift), sampled


def colour_shift(pixels: Tensor, seen: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """What each reference lacks in mean colour: (B, N, 3) from pixels (B, N, 3, h, w), seen (B, N, h, w),
    target (B, 3, h, w), weight (B, 1, h, w)."""
    used = rearrange(seen * weight, "b n h w -> b n (h w) 1")
    total = used.sum(dim=2)  # (B, N, 1)
    wanted = used[..., 0] @ rearrange(target, "b c h w -> b (h w) c")  # (B, N, 3)
    own = rearrange(pixels, "b n c h w -> b n c (h w)") @ used  # (B, N, 3, 1)
    shift = (wanted - own[..., 0]) / total.clamp_min(1e-6)
    return torch.where(total > 1.0, shift, torch.zeros_like(shift))


def sample_aligned(
    lip_queries: Queries,
    face_queries: Queries,
    surface: Surface,
    points: Tensor,
    mask: Tensor,
    lip: ReferenceBatch,
    face: ReferenceBatch,
    dense: bool = False,
    wanted: Window | None = None,
) -> tuple[Tensor, Tensor]:
    """Dual attention of target frames over aligned references (eq. 4).

    Args:
        points: (B, V, 3) of the targets.  mask: (B, 1, R, R) lip masks M^l.
        dense:  the slow twin: both layers over the whole crop.
        wanted: pixels that are asked for, on multiples of R / L; None for all.
    Returns:
        pixels (B, 3, R, R) and latent (B, D, L, L). Where no mesh is drawn, or nothing is wanted: the pixels
        of the face reference most alike, and 0.
    """
    size, latent = mask.shape[-1], face_queries.query.shape[-1]
    step = size // latent
    whole = Window(0, size, 0, size)
    mesh = surface.mesh[:, None].to(mask.dtype)  # (B, 1, R, R)
    cost = face_queries.difference @ face_queries.sharpness.mean(dim=(2, 3))[..., None]  # (B, N, 1)
    pixels = face.whole.pixels.index_select(0, face.rows.gather(1, cost.argmin(dim=1))[:, 0]).contiguous()
    sampled = face_queries.query.new_zeros(face_queries.query.shape)
    window = whole if dense else vertex_window(points[..., :2], 2 * step, size, step).common(wanted or whole)
    if min(window.size) > 0:
        seen_pixels, seen_latent = attend(face_queries, surface, face, face.whole.face_key_value, window)
        window.paste(pixels, fuse(seen_pixels, window.cut(pixels), window.cut(mesh)))
        window.scaled(step).paste(sampled, seen_latent * (mean_pool(window.cut(mesh), step) > 0))

    window = whole if dense else lip_window(mask, step).common(wanted or whole)
    if min(window.size) == 0:
        return pixels, sampled
    inside, coarse = window.cut(mask), window.scaled(step)
    ring = 4.0 * inside * (1.0 - inside)
    lip_pixels, lip_latent = attend(
        lip_queries, surface, lip, lip.whole.lip_key_value, window, (window.cut(pixels), ring)
    )
    window.paste(pixels, fuse(lip_pixels, window.cut(pixels), inside))
    coarse.paste(sampled, fuse(lip_latent, coarse.cut(sampled), mean_pool(inside, step)))
    return pixels, sampled
