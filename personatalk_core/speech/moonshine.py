"""The Moonshine speech encoder (Jeffries et al. 2024), written out so that its attention can be local.

Parameter names are those of ``transformers.MoonshineModel(...).encoder``, so its files load as they are, and
with ``reach=None`` and every layer the output is the same. What differs: each feature attends only ``reach``
features to either side, the statistics of the one group normalisation can be handed in, and all layers'
outputs are given back. The first two make the output independent of how a long recording is cut. Knows
neither video frames nor styles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from .local_attention import LocalAttention


@dataclass(frozen=True)
class MoonshineSizes:
    """Sizes of the encoder; the defaults are Moonshine-tiny's first four layers, which hold the most about
    the mouth.

    reach: features a feature may attend to on either side (None: all of the window).
    """

    width: int = 288
    inner_width: int = 1152
    layers: int = 4
    heads: int = 8
    rotary_share: float = 0.9
    reach: int | None = 42


class ClipGroupNorm(nn.Module):
    """Group normalisation with one group, whose mean and variance may come from the whole clip."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor, statistics: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Normalise (B, D, T); statistics: mean (B,) and variance (B,) over D and T, computed from x when
        None."""
        if statistics is None:
            statistics = x.mean((1, 2)), x.var((1, 2), unbiased=False)
        mean, variance = (rearrange(s, "b -> b 1 1") for s in statistics)
        x = (x - mean) * torch.rsqrt(variance + self.eps)
        return x * rearrange(self.weight, "d -> d 1") + rearrange(self.bias, "d -> d 1")


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, sizes: MoonshineSizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.width, sizes.inner_width)
        self.fc2 = nn.Linear(sizes.inner_width, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, sizes: MoonshineSizes) -> None:
        super().__init__()
        self.self_attn = LocalAttention(sizes.width, sizes.heads, sizes.reach, sizes.rotary_share)
        self.mlp = FeedForward(sizes)
        self.input_layernorm = nn.LayerNorm(sizes.width, bias=False)
        self.post_attention_layernorm = nn.LayerNorm(sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.input_layernorm(x)
        x = x + self.self_attn(y, y)
        return x + self.mlp(self.post_attention_layernorm(x))


class MoonshineEncoder(nn.Module):
    """16 kHz samples to about 41.7 features a second: three strided convolutions and a transformer."""

    hop = 64 * 3 * 2
    """Samples between two features."""
    centre = 63 + 64 * (3 + 3 * 1)
    """Sample in the middle of what the first feature's convolutions see."""
    field = 127 + 64 * (6 + 3 * 2)
    """Samples that one feature's convolutions see."""
    takes_statistics = True

    def __init__(self, sizes: MoonshineSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.conv1 = nn.Conv1d(1, sizes.width, 127, stride=64, bias=False)
        self.conv2 = nn.Conv1d(sizes.width, 2 * sizes.width, 7, stride=3)
        self.conv3 = nn.Conv1d(2 * sizes.width, sizes.width, 3, stride=2)
        self.groupnorm = ClipGroupNorm(sizes.width)
        self.layers = nn.ModuleList(EncoderLayer(sizes) for _ in range(sizes.layers))
        self.layer_norm = nn.LayerNorm(sizes.width, bias=False)

    @property
    def width(self) -> int:
        return self.sizes.width

    @property
    def depth(self) -> int:
        """How many sets of features :meth:`forward` gives."""
        return self.sizes.layers + 1

    @property
    def reach(self) -> int | None:
        """Samples to either side of a feature's centre that can change it, the group statistics aside; None:
        all."""
        return (
            None
            if self.sizes.reach is None
            else self.sizes.layers * self.sizes.reach * self.hop + self.field // 2 + 1
        )

    def attending_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that fine-tuning changes: those of the transformer layers."""
        yield from self.layers.parameters()
        yield from self.layer_norm.parameters()

    def first_layer(self, samples: Tensor) -> Tensor:
        """(B, S) samples to (B, D, T') just before the group normalisation, whose statistics are taken
        here."""
        return self.conv1(rearrange(samples, "b s -> b 1 s")).tanh()

    def forward(self, samples: Tensor, statistics: tuple[Tensor, Tensor] | None = None) -> list[Tensor]:
        """(B, S) samples at 16 kHz, S >= ``field``, to the features (B, T, D) after the convolutions and each
        layer.

        The last entry is normalised as in the original.
        """
        x = self.groupnorm(self.first_layer(samples), statistics)
        x = F.gelu(self.conv3(F.gelu(self.conv2(x))))
        outputs = [rearrange(x, "b d t -> b t d")]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        outputs[-1] = self.layer_norm(outputs[-1])
        return outputs
