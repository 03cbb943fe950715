"""The style enters the audio: one cross-attention layer, query S, keys and values the audio (paper 3.1, eq.
3)."""

from __future__ import annotations

from einops import rearrange
from torch import Tensor, nn

from .local_attention import LocalAttention


class StylizedAudio(nn.Module):
    """Audio features heard with a speaker's habits.

    Paper: eq. 3 with Q = S, K = V = A. Deviation: one query would give one vector and lose time, so S is the
    query of every frame, told apart by its (rotary) position, attention reaches ``reach`` frames to either
    side, and both the audio and S stay in the sum.
    """

    def __init__(self, width: int, heads: int, reach: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.style_in = nn.Linear(width, width)
        self.attention = LocalAttention(width, heads, reach)
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Tensor, style: Tensor) -> Tensor:
        """(B, T, D) audio features and (B, D) styles to (B, T, D)."""
        query = rearrange(self.style_in(style), "b d -> b 1 d").expand_as(audio)
        return audio + query + self.dropout(self.attention(query, self.norm(audio)))
