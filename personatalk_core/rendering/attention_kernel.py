"""Which attention kernel runs where. The one place that knows; everything else calls
:func:`attend_tokens`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


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
