"""The opening that a sound asks for, by ridge regression on its spectrum: the judge of ``sync_r`` that
generates nothing.

The project's own speech networks hear better, but a dub made by them would be judged by its maker. This judge
is linear, was fitted apart from them, and knows nothing but mel bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from ...config import SAMPLE_RATE, SAMPLES_PER_FRAME
from ...weights.checkpoint import load_checkpoint, save_checkpoint

KIND = "sync_judge"
BANDS = 40
STEPS = 2  # spectra a video frame: one every 20 ms
CONTEXT = 6  # frames to either side
FFT = 512


@dataclass(frozen=True, eq=False)
class SoundOpening:
    """weight (D,) of features (T, D). Call it with (S,) samples at 16 kHz and a count of frames at 25 fps:
    (T,) in clip deviations."""

    weight: Tensor

    def __call__(self, samples: Tensor, frames: int) -> Tensor:
        return sound_features(samples, frames) @ self.weight


def sound_features(samples: Tensor, frames: int) -> Tensor:
    """Log mel bands around each frame, less the clip's mean and over its deviation: (S,) at 16 kHz to
    (frames, D).

    Frame t sees the spectra of frames t - CONTEXT to t + CONTEXT; before and after the sound there is
    silence.
    """
    check_shape("samples", samples, "S")
    padded = torch.zeros(frames * SAMPLES_PER_FRAME)
    kept = min(len(samples), len(padded))
    padded[:kept] = samples[:kept]
    hop = SAMPLES_PER_FRAME // STEPS
    window = torch.hann_window(FFT)
    pieces = F.pad(padded, (FFT // 2 - hop // 2, FFT // 2)).unfold(0, FFT, hop)[
        : frames * STEPS
    ]  # centred on each step
    power = torch.fft.rfft(pieces * window).abs().square()  # (T * STEPS, FFT / 2 + 1)
    mel = (power @ _mel_bands().T + 1e-8).log()
    mel = (mel - mel.mean(0)) / mel.std(0).clamp_min(1e-3)
    rows = rearrange(mel, "(t s) b -> t (s b)", s=STEPS)
    around = F.pad(rows, (0, 0, CONTEXT, CONTEXT)).unfold(0, 2 * CONTEXT + 1, 1)  # (T, s b, context)
    return rearrange(around, "t d c -> t (c d)")


def _mel_bands() -> Tensor:
    """(BANDS, FFT / 2 + 1) triangles evenly spaced in mel from 60 Hz to 7.6 kHz."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60.0, 7600.0))
    centre = torch.from_numpy(700 * (10 ** (np.linspace(low, high, BANDS + 2) / 2595) - 1)).float()
    hertz = torch.arange(FFT // 2 + 1) * (SAMPLE_RATE / FFT)
    rise = (hertz - centre[:-2, None]) / (centre[1:-1] - centre[:-2])[:, None]
    fall = (centre[2:, None] - hertz) / (centre[2:] - centre[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp_min(0)


def save_sound_opening(path: Path, judge: SoundOpening, card: str) -> str:
    """Write the judge as safetensors; returns the sha256."""
    config = {"bands": BANDS, "steps": STEPS, "context": CONTEXT, "fft": FFT}
    return save_checkpoint(
        path, {"weight": judge.weight}, kind=KIND, config=config, licence="Apache-2.0", card=card
    )


def load_sound_opening(path: Path) -> SoundOpening:
    """Load a judge. Raises WeightsError when the file is missing, damaged or of another kind."""
    return SoundOpening(load_checkpoint(path, kind=KIND).tensors["weight"].float())
