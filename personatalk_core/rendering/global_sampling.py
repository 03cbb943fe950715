"""Texture sampling, variant ``global``: the paper's attention to the letter, over all latents of all references.

Its logits begin as -t^2 |pncc_q - pncc_k|^2 and its values carry pixels (4 x 4 patches) beside learned features, so
that it samples sensibly before training. Only latents inside the face (or the lips) attend and are attended to.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .dual_attention import augmented, fuse, token_attention, tokens
from .encoded_references import EncodedReferences

COORDINATE_SHARPNESS = 60.0  # t: logits fall by one at a PNCC distance of 1 / t


def sample_tokens(
    query: Tensor, pncc: Tensor, active: Tensor, bias: Tensor, references: EncodedReferences, key: Tensor, value: Tensor,
    allowed: Tensor, sharpness: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One attention layer over the tokens of all references.

    Args:
        query: (D, L, L).  pncc: (3, L, L) of the target.  active: (L, L) bool, queries wanted.  bias: (N,).
        key, value: (N, D, L, L).  allowed: (N, L, L) bool, keys offered; at least one must be.
    Returns:
        pixels (3, R, R) and latent (D, L, L); 0 where not active.
    """
    size, latent = references.pixels.shape[-1], query.shape[-1]
    patches = rearrange(references.pixels, "n c (h p) (w q) -> (n h w) (c p q)", h=latent, w=latent)
    offered = allowed.flatten()
    keys = rearrange(key, "n d h w -> (n h w) d")[offered]
    places = rearrange(references.pncc[:, :3], "n c h w -> (n h w) c")[offered]
    offset = bias[:, None, None].expand_as(allowed).flatten()[offered]
    augmented_key = torch.cat([keys, augmented(places, sharpness, query=False), offset[:, None]], dim=1)
    wanted = active.flatten()
    own = augmented(tokens(pncc)[wanted], sharpness, query=True)
    augmented_query = torch.cat([tokens(query)[wanted], own, torch.ones_like(own[:, :1])], dim=1)
    values = torch.cat([rearrange(value, "n d h w -> (n h w) d")[offered], patches[offered]], dim=1)
    out = values.new_zeros(latent * latent, values.shape[1])
    out[wanted] = token_attention(augmented_query, augmented_key, values).to(values.dtype)
    features, pixels = out.split([value.shape[1], patches.shape[1]], dim=1)
    step = size // latent
    image = rearrange(pixels, "(h w) (c p q) -> c (h p) (w q)", h=latent, c=3, p=step)
    return image, rearrange(features, "(h w) d -> d h w", h=latent)


def sample_global(
    lip_query: Tensor, face_query: Tensor, lip_bias: Tensor, face_bias: Tensor, pncc: Tensor, mask: Tensor,
    lip: EncodedReferences, face: EncodedReferences, sharpness: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Dual attention of one target frame over all tokens (eq. 3 and 4).

    Args:
        lip_query, face_query: (D, L, L).  lip_bias (N_l,), face_bias (N_f,).  pncc: (3, L, L).  mask: (1, R, R) lip mask.
    Returns:
        pixels (3, R, R) and latent (D, L, L); outside the face the nearest face reference's own pixels.
    """
    size, latent = mask.shape[-1], face_query.shape[-1]
    inside = pncc.sum(dim=0) > 0
    coarse = F.avg_pool2d(mask, size // latent)
    face_drawn = face.pncc[:, :3].sum(dim=1) > 0
    pixels, sampled = sample_tokens(face_query, pncc, inside, face_bias, face, face.face_key, face.face_value, _some(face_drawn), sharpness)
    nearest = face.pixels[int(face_bias.argmax())]
    pixels = torch.where(F.interpolate(inside[None, None].float(), size=(size, size))[0] > 0, pixels, nearest)
    lips = inside & (coarse[0] > 0)
    usable = _some((lip.pncc[:, 3] > 0) & torch.isfinite(lip_bias)[:, None, None])
    bias = torch.nan_to_num(lip_bias, neginf=-1e4)
    lip_pixels, lip_sampled = sample_tokens(lip_query, pncc, lips, bias, lip, lip.lip_key, lip.lip_value, usable, sharpness)
    drawn = F.interpolate(lips[None, None].float(), size=(size, size))[0]
    return fuse(lip_pixels, pixels, mask * drawn), fuse(lip_sampled, sampled, coarse * lips)


def _some(allowed: Tensor) -> Tensor:
    """The same mask, or everything when it would allow nothing."""
    return allowed if bool(allowed.any()) else torch.ones_like(allowed)
