"""Texture sampling, variant ``global``: the paper's attention to the letter, over all latents of all
references.

Its logits begin as -t^2 |pncc_q - pncc_k|^2 and its values carry pixels (4 x 4 patches) beside learned
features, so that it samples sensibly before training. Only latents inside the face (or the lips) attend and
are attended to.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .aligned_sampling import Queries
from .dual_attention import augmented, fuse, token_attention, tokens
from .reference_batch import EncodedReferences, ReferenceBatch
from .surface import Window

COORDINATE_SHARPNESS = 60.0  # t: logits fall by one at a PNCC distance of 1 / t


def sample_tokens(
    queries: Queries,
    pncc: Tensor,
    active: Tensor,
    references: EncodedReferences,
    key_value: Tensor,
    offered: Tensor,
    sharpness: Tensor,
) -> tuple[Tensor, Tensor]:
    """One attention layer over the tokens of all references, for one target.

    Args:
        queries:   of one target.  pncc: (3, L, L) of the target.  active: (L, L) bool, queries wanted.
        key_value: (N, 2 D, L, L).  offered: (N, L, L) bool, keys offered; at least one must be.
    Returns:
        pixels (3, R, R) and latent (D, L, L); 0 where not active.
    """
    size, latent = references.pixels.shape[-1], queries.query.shape[-1]
    offered, wanted = offered.flatten(), active.flatten()
    patches = rearrange(references.pixels, "n c (h p) (w q) -> (n h w) (c p q)", h=latent, w=latent)[offered]
    keys, values = rearrange(key_value, "n d h w -> (n h w) d")[offered].chunk(2, dim=1)
    places = rearrange(references.pncc[:, :3], "n c h w -> (n h w) c")[offered]
    frame = torch.arange(len(references), device=offered.device).repeat_interleave(latent * latent)[offered]
    difference = queries.difference[0, frame]  # (K, 2)
    own = tokens(pncc)[wanted]
    query_side = [
        tokens(queries.query[0])[wanted],
        augmented(own, sharpness, query=True),
        -tokens(queries.sharpness[0])[wanted],
    ]
    key_side = [keys, augmented(places, sharpness, query=False), difference]
    attended = token_attention(
        torch.cat(query_side, dim=1), torch.cat(key_side, dim=1), torch.cat([values, patches], dim=1)
    )
    out = attended.new_zeros(latent * latent, attended.shape[1])
    out[wanted] = attended
    features, pixels = out.split([values.shape[1], patches.shape[1]], dim=1)
    image = rearrange(pixels, "(h w) (c p q) -> c (h p) (w q)", h=latent, c=3, p=size // latent)
    return image, rearrange(features, "(h w) d -> d h w", h=latent)


def sample_global(
    lip_queries: Queries,
    face_queries: Queries,
    pncc: Tensor,
    mask: Tensor,
    lip: EncodedReferences,
    face: ReferenceBatch,
    sharpness: Tensor,
) -> tuple[Tensor, Tensor]:
    """Dual attention of target frames over all tokens (eq. 3 and 4), one after the other.

    Args:
        pncc: (B, 3, L, L) of the targets.  mask: (B, 1, R, R) lip masks M^l.
    Returns:
        pixels (B, 3, R, R) and latent (B, D, L, L); outside the face the pixels of the face reference most
        alike, and 0.
    """
    parts = [
        _sample_one(
            lip_queries.of(b), face_queries.of(b), pncc[b], mask[b], lip, face.whole[face.rows[b]], sharpness
        )
        for b in range(len(mask))
    ]
    return tuple(torch.stack(part) for part in zip(*parts, strict=True))


def _sample_one(
    lip_queries: Queries,
    face_queries: Queries,
    pncc: Tensor,
    mask: Tensor,
    lip: EncodedReferences,
    face: EncodedReferences,
    sharpness: Tensor,
) -> tuple[Tensor, Tensor]:
    size, latent = mask.shape[-1], face_queries.query.shape[-1]
    inside, coarse = pncc.sum(dim=0) > 0, F.avg_pool2d(mask, size // latent)
    drawn = _something(face.pncc[:, :3].sum(dim=1) > 0)
    face_pixels, sampled = sample_tokens(
        face_queries, pncc, inside, face, face.face_key_value, drawn, sharpness
    )
    nearest = face.pixels[int(face_queries.logits(Window(0, latent, 0, latent))[0].mean(dim=(1, 2)).argmax())]
    pixels = torch.where(_enlarged(inside, size), face_pixels, nearest)
    lips = inside & (coarse[0] > 0)
    offered = lip.pncc[:, 3] > 0
    if lip_queries.allowed is not None:
        offered = offered & lip_queries.allowed[0, :, None, None]
    lip_pixels, lip_sampled = sample_tokens(
        lip_queries, pncc, lips, lip, lip.lip_key_value, _something(offered), sharpness
    )
    return fuse(lip_pixels, pixels, mask * _enlarged(lips, size)), fuse(lip_sampled, sampled, coarse * lips)


def _something(offered: Tensor) -> Tensor:
    """The same mask, or everything when it would offer nothing."""
    return offered if bool(offered.any()) else torch.ones_like(offered)


def _enlarged(mask: Tensor, size: int) -> Tensor:
    """(L, L) bool to (1, size, size) bool, each entry a square."""
    return F.interpolate(mask[None, None].float(), size=(size, size))[0] > 0
