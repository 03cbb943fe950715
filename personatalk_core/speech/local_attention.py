"""Attention that looks a bounded time to either side and knows only relative positions (rotary).

Because nothing absolute enters, a window in the middle of an hour gives what the whole hour would give, as
long as the window's margin covers the reach of all layers together. Knows nothing of audio, faces or style.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


def band_mask(length: int, reach: int | None, device: torch.device) -> Tensor | None:
    """(T, T) bool, True where |i - j| <= reach; None when nothing is masked."""
    if reach is None or reach >= length - 1:
        return None
    position = torch.arange(length, device=device)
    return (position[:, None] - position[None, :]).abs() <= reach


def rotary_table(
    length: int, rotated: int, device: torch.device, dtype: torch.dtype, base: float = 10_000.0
) -> tuple[Tensor, Tensor]:
    """Cosine and sine (T, R) of rotary positions for the R = ``rotated`` first values of each head."""
    frequency = base ** -(torch.arange(0, rotated, 2, device=device, dtype=torch.float32) / rotated)
    angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
    angle = angle.repeat_interleave(2, dim=-1)  # (T, R)
    return angle.cos().to(dtype), angle.sin().to(dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate neighbouring pairs of the first R of D values of (B, H, T, D) by their position's angle."""
    cosine, sine = rotation
    rotated, passed = x[..., : cosine.shape[-1]], x[..., cosine.shape[-1] :]
    quarter_turn = torch.stack((-rotated[..., 1::2], rotated[..., 0::2]), dim=-1).flatten(-2)
    return torch.cat((rotated * cosine + quarter_turn * sine, passed), dim=-1)


class LocalAttention(nn.Module):
    """Paper eq. 3, softmax(Q K^T / sqrt(D)) V, in several heads, limited to ``reach`` steps to either side.

    Args:
        width: D of queries, keys, values and output; divisible by ``heads``, D / heads even.
        reach: steps to either side that a query may attend to; None for all.
        rotary_share: share of each head's width that carries position.
    """

    def __init__(self, width: int, heads: int, reach: int | None, rotary_share: float = 1.0) -> None:
        super().__init__()
        self.heads, self.reach = heads, reach
        self.rotated = int(width // heads * rotary_share) // 2 * 2
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(self, query: Tensor, source: Tensor) -> Tensor:
        """Attend from ``query`` (B, T, D) to ``source`` (B, T, D), both on the same clock, to (B, T, D)."""
        length = source.shape[1]
        rotation = rotary_table(length, self.rotated, source.device, source.dtype)
        q = rearrange(self.q_proj(query), "b t (h d) -> b h t d", h=self.heads)
        k = rearrange(self.k_proj(source), "b t (h d) -> b h t d", h=self.heads)
        v = rearrange(self.v_proj(source), "b t (h d) -> b h t d", h=self.heads)
        mask = band_mask(length, self.reach, source.device)
        out = F.scaled_dot_product_attention(rotate(q, rotation), rotate(k, rotation), v, attn_mask=mask)
        return self.o_proj(rearrange(out, "b h t d -> b t (h d)"))
