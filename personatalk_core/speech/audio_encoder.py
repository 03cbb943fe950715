"""E_aud of the paper: 16 kHz samples to one feature vector a 25 fps frame, from a pretrained speech encoder.

Two backbones share one interface: Moonshine (bundled) and HuBERT (the paper's). Frame t covers the samples
[640 t, 640 (t + 1)); its features are read at ``taps`` places inside that span, so nothing is shifted. Knows
nothing of faces or styles.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ..config import SAMPLES_PER_FRAME
from ..errors import WeightsError
from .moonshine import MoonshineEncoder, MoonshineSizes

if TYPE_CHECKING:
    from .hubert import HubertBackbone  # at run time only for a checkpoint of that kind

QUIET = 0.05  # of the loud blocks' power; blocks below it are pauses


@dataclass(frozen=True)
class AudioEncoderConfig:
    """What a checkpoint must say to be rebuilt.

    kind: ``moonshine`` or ``hubert``.  width: D of the features.  taps: places a frame is read at.
    backbone: sizes of the backbone, in its own words.
    """

    kind: str = "moonshine"
    width: int = 128
    taps: int = 2
    backbone: dict = field(default_factory=lambda: asdict(MoonshineSizes()))


class AudioEncoder(nn.Module):
    """A pretrained backbone, a learned mixture of its layers, and the paper's linear projection to the frame
    rate."""

    def __init__(self, config: AudioEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = make_backbone(config)
        self.layer_weight = nn.Parameter(torch.zeros(self.backbone.depth))
        self.projection = nn.Linear(config.taps * self.backbone.width, config.width)

    def forward(
        self, samples: Tensor, origin: int, frames: int, statistics: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """Features of consecutive frames (paper 3.1).

        Args:
            samples:    (B, S) at 16 kHz; context to both sides of the frames helps.
            origin:     index of the sample where the first frame begins, >= 0.
            frames:     T, how many frames.
            statistics: of the whole clip, from :func:`clip_statistics`; None takes them from ``samples``.
        Returns:
            (B, T, D).
        """
        layers = self.backbone(samples, statistics)  # (B, T', D') each
        mixed = torch.zeros_like(layers[0])
        for share, layer in zip(self.layer_weight.softmax(0), layers, strict=True):
            mixed = mixed + share * F.layer_norm(layer, layer.shape[-1:])
        return self.projection(self.at_frames(mixed, origin, frames))  # (B, T, D)

    def at_frames(self, features: Tensor, origin: int, frames: int) -> Tensor:
        """Interpolate (B, T', D') at each frame's taps, side by side: (B, T, taps * D')."""
        taps, last = self.config.taps, features.shape[1] - 1
        tap = torch.arange(frames * taps, device=features.device, dtype=torch.float64) + 0.5
        sample = origin + SAMPLES_PER_FRAME / taps * tap  # (T taps,)
        position = ((sample - self.backbone.centre) / self.backbone.hop).clamp(0, last)  # in features
        left = position.floor().long().clamp(max=max(last - 1, 0))
        right = (left + 1).clamp(max=last)
        weight = rearrange((position - left).to(features.dtype), "p -> p 1")
        sampled = features[:, left] * (1 - weight) + features[:, right] * weight
        return rearrange(sampled, "b (t k) d -> b t (k d)", k=taps)


def make_backbone(config: AudioEncoderConfig) -> MoonshineEncoder | HubertBackbone:
    """An untrained backbone of the stated kind and sizes. Raises WeightsError for another kind."""
    if config.kind == "moonshine":
        return MoonshineEncoder(MoonshineSizes(**config.backbone))
    if config.kind == "hubert":
        from .hubert import HubertBackbone

        return HubertBackbone(config.backbone)
    raise WeightsError(
        f"audio encoder kind is '{config.kind}' but expected moonshine or hubert; take weights of this "
        "release."
    )


class Samples(Protocol):
    """(S,) at 16 kHz: a tensor, or a file of float32 whose slices are arrays."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, span: slice, /) -> Tensor | np.ndarray:
        """(n,) consecutive samples."""
        ...


def samples_between(samples: Samples, start: int, end: int, device: torch.device | str) -> Tensor:
    """(n,) float32 of the samples from start to end that exist."""
    start, end = max(start, 0), max(min(end, len(samples)), 0)
    return torch.as_tensor(samples[start : max(start, end)]).to(device=device, dtype=torch.float32)


def clip_statistics(
    encoder: AudioEncoder, samples: Samples, block: int = 16_000
) -> tuple[Tensor, Tensor] | None:
    """Mean and variance of the backbone's group normalisation over the blocks of a clip that hold sound.

    Blocks quieter than a twentieth of the loud ones' power are left out, so that a pause does not change the
    features of speech.

    Args:
        samples: (S,) at 16 kHz, any length, read block by block.
    Returns:
        mean (1,), variance (1,); None when the backbone takes its own.
    """
    backbone = encoder.backbone
    if not isinstance(backbone, MoonshineEncoder) or not backbone.takes_statistics:
        return None
    device, count = encoder.projection.weight.device, len(samples)
    powers, means, squares = [], [], []  # one value a block
    for start in range(0, count, block):
        piece = samples_between(samples, start, start + block, device)
        if len(piece) < block and powers:  # the last block reaches back
            piece = samples_between(samples, count - block, count, device)
        elif len(piece) < block:
            piece = F.pad(piece, (0, block - len(piece)))
        hidden = backbone.first_layer(piece[None])  # (1, D', T')
        powers.append(piece.square().mean())
        means.append(hidden.mean())
        squares.append(hidden.square().mean())
    power, mean, square = torch.stack(powers), torch.stack(means), torch.stack(squares)
    loud = power >= QUIET * power.quantile(0.9)
    centre = mean[loud].mean()
    return centre[None], (square[loud].mean() - centre.square()).clamp(min=0)[None]


def from_moonshine(path: Path, width: int = 128, layers: int = 4, reach: int | None = 42) -> AudioEncoder:
    """An encoder initialised from Moonshine-tiny's encoder weights, with the names ``transformers`` uses.

    Raises:
        WeightsError: the file is missing or does not hold such weights.
    """
    sizes = MoonshineSizes(layers=layers, reach=reach)
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", width, backbone=asdict(sizes)))
    try:
        tensors = load_file(str(path))
        names = encoder.backbone.state_dict()
        encoder.backbone.load_state_dict({name: tensors[name].float() for name in names})
    except (OSError, SafetensorError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"{path} does not hold Moonshine-tiny encoder weights ({error}); expected a safetensors file "
            "with transformers' names."
        ) from error
    return encoder


def from_hubert(
    source: Path | str, width: int = 128, *, offline: bool = False, revision: str | None = None
) -> AudioEncoder:
    """An encoder initialised from HuBERT (the paper's choice), such as ``facebook/hubert-base-ls960``.

    Args:
        source: a local folder in the layout of ``transformers``, or a repository on the Hub.
    Raises:
        DependencyError: ``transformers`` is not installed.
        WeightsError: the weights cannot be found or read.
    """
    from .hubert import HubertBackbone

    backbone = HubertBackbone.from_pretrained(source, offline=offline, revision=revision)
    encoder = AudioEncoder(AudioEncoderConfig("hubert", width, backbone=backbone.config))
    encoder.backbone.load_state_dict(backbone.state_dict())
    return encoder
