"""The variant ``global``: the paper's attention to the letter, over all latents of all references.

Its logits begin as -t^2 |pncc_q - pncc_k|^2 and its values carry pixels (4 x 4 patches) beside learned
features, so that it samples sensibly before training. Only latents inside the face (or the lips) attend and
are attended to.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..config import CROP_SIZE
from .batch import ReferenceBatch
from .fast.window import mean_pool
from .similarity import nearest_pixels
from .surface import DrawnTargets, at_crop_size


def attend_globally(
    query: Tensor,
    sharpness: Tensor,
    distance: Tensor,
    target: DrawnTargets,
    references: ReferenceBatch,
    key_value: Tensor,
    coordinate_sharpness: Tensor,
    lips: bool,
) -> tuple[Tensor, Tensor]:
    """One attention layer (eq. 3) over every latent of the references, one target after the other.

    Args:
        query:      (B, D, L, L), divided by sqrt(D).  sharpness: (B, 2, L, L).  distance: (B, N, 2), as in
            ``network.ReferenceAttention``.
        references: N of M for each target.  key_value: (M, 2 D, L, L).
        lips:       whether only latents of the lips are attended to, or those of the whole face.
    Returns:
        pixels (B, 3, R, R), the nearest reference's outside the face, and latent (B, D, L, L), 0 there.
    """
    latents, size = query.shape[-1], references.encoded.pixels.shape[-1]
    geometry = mean_pool(at_crop_size(target.geometry), CROP_SIZE // latents)
    inside = geometry[:, :3].sum(dim=1) > 0  # (B, L, L)
    active = inside & (geometry[:, 3] > 0) if lips else inside
    rendered = []
    for b, rows in enumerate(references.rows):
        present = rows >= 0
        chosen = references.encoded[rows[present]]
        offered = chosen.pncc[:, 3] > 0 if lips else chosen.pncc[:, :3].sum(dim=1) > 0  # (n, L, L)
        offered = offered if bool(offered.any()) else torch.ones_like(offered)
        frame = torch.arange(len(chosen), device=rows.device).repeat_interleave(latents**2)[offered.flatten()]
        patches = rearrange(chosen.pixels, "n c (h p) (w q) -> (n h w) (c p q)", h=latents, w=latents)
        keys, values = tokens(key_value[rows[present]], offered).chunk(2, dim=1)
        query_side = [
            tokens(query[b : b + 1], active[b]),
            augmented(tokens(geometry[b : b + 1, :3], active[b]), coordinate_sharpness, query=True),
            -tokens(sharpness[b : b + 1], active[b]),
        ]
        key_side = [
            keys,
            augmented(tokens(chosen.pncc[:, :3], offered), coordinate_sharpness, query=False),
            distance[b, present][frame],
        ]
        values = torch.cat([values, patches[offered.flatten()]], dim=1)
        attended = token_attention(torch.cat(query_side, dim=1), torch.cat(key_side, dim=1), values)
        picture = attended.new_zeros(latents**2, attended.shape[1])
        picture[active[b].flatten()] = attended
        rendered.append(picture)
    out = rearrange(torch.stack(rendered), "b (h w) k -> b k h w", h=latents)
    width = key_value.shape[1] // 2
    pixels = F.pixel_shuffle(out[:, width:], size // latents)
    within = F.interpolate(active[:, None].float(), (size, size)) > 0
    return torch.where(within, pixels, nearest_pixels(references, distance, sharpness)), out[:, :width]


def tokens(images: Tensor, chosen: Tensor) -> Tensor:
    """(N, C, h, w) at the places chosen, (N, h, w) or (h, w) bool: (K, C)."""
    return rearrange(images, "n c h w -> (n h w) c")[chosen.flatten()]


def augmented(coordinates: Tensor, sharpness: Tensor, *, query: bool) -> Tensor:
    """Columns whose product is -sharpness^2 |p_q - p_k|^2 up to a constant a query row: (K, 3) to (K, 4).

    -t^2 |q - k|^2 = 2 t^2 q.k - t^2 |k|^2 - t^2 |q|^2; the last term is the same for every key and drops out
    of the softmax.
    """
    if query:
        ones = torch.ones_like(coordinates[:, :1])
        return torch.cat([2.0 * sharpness.square() * coordinates, ones], dim=-1)
    return torch.cat([coordinates, -sharpness.square() * coordinates.square().sum(-1, keepdim=True)], dim=-1)


def token_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Paper eq. 3 over all tokens of all references, through the device's fastest kernel: (Q, D), (K, D), (K,
    C) to (Q, C).

    The logits are the plain products; scale beforehand.
    """
    # differences of squared coordinates are too fine for half precision
    with torch.autocast(query.device.type, enabled=False):
        return attend_tokens(query.float()[None, None], key.float()[None, None], value.float()[None, None])[
            0, 0
        ]


def token_attention_plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The slow twin of :func:`token_attention`."""
    return torch.softmax(query @ key.T, dim=-1) @ value


def attention_kernels(device: torch.device | str, dtype: torch.dtype) -> tuple[SDPBackend, ...]:
    """The kernels to try, the fastest first; the last one, plain products, works for every shape.

    Args:
        device: cpu, cuda or mps; others are treated like mps.
        dtype:  of queries, keys and values.
    Returns:
        CUDA: flash for half precision, then memory-efficient. CPU: flash, which torch tiles for its caches.
        MPS has Apple's own behind the plain name.
    """
    kind = torch.device(device).type
    if kind == "cuda" and dtype in (torch.float16, torch.bfloat16):
        return SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
    if kind == "cuda":
        return SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH
    if kind == "cpu":
        return SDPBackend.FLASH_ATTENTION, SDPBackend.MATH
    return (SDPBackend.MATH,)


def attend_tokens(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(query key^T) value for (B, H, Q, D), (B, H, K, D), (B, H, K, C); scale the query beforehand.

    Keys and values are brought to one width with zeros, which change nothing and which flash kernels ask for.
    """
    width = value.shape[-1]
    wide = -(-max(key.shape[-1], width) // 8) * 8
    query, key, value = (F.pad(x, (0, wide - x.shape[-1])) for x in (query, key, value))
    with sdpa_kernel(list(attention_kernels(query.device, query.dtype))):
        return F.scaled_dot_product_attention(query, key, value, scale=1.0)[..., :width]
