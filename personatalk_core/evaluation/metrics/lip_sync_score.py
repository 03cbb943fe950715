"""Is the mouth in step with the sound? Correlation of the opening that is seen with the opening that the
sound asks for.

The offline companion of SyncScore (paper 4.2), under its own name: ``sync_r`` and ``sync_lag``. The sound's
opening comes from any function of 16 kHz samples. Two are here: :class:`SoundOpening`, ridge regression on
mel bands, the judge of ``sync_r``, which generates nothing; and :func:`hears_with`, the project's own speech
networks, which hear better but would judge dubs that they made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from ...config import SAMPLE_RATE, SAMPLES_PER_FRAME
from ...errors import ShapeError
from ...geometry.face_model import FaceModel
from ...geometry.vertices import mouth_opening, shape_vertices
from ...speech.lip_sync import predict_expression, template_offsets
from ...speech.networks import SpeechNetworks
from ...speech.style import style_vector
from ...weights.checkpoint import load_checkpoint, save_checkpoint

MAX_LAG = 12  # frames at 25 fps to either side: about half a second
MIN_OVERLAP = 20  # frames that must be compared at a lag
JUDGE_KIND = "sync_judge"
MEL_BANDS = 40
STEPS_A_FRAME = 2  # spectra a video frame: one every 20 ms
CONTEXT_FRAMES = 6  # frames to either side
FFT_SIZE = 512
HearOpening = Callable[[Tensor, int], Tensor]
"""(S,) mono 16 kHz samples and T frames at 25 fps to the opening heard, (T,), in any unit."""


@dataclass(frozen=True, eq=False)
class SyncCurve:
    """lags (L,) int64 in frames at 25 fps, positive: the mouth comes later than its sound.  r (L,): Pearson
    correlation at each."""

    lags: Tensor
    r: Tensor

    @property
    def best_lag(self) -> int:
        """Frames at which the correlation is largest; of equal ones the nearest to 0."""
        best = self.r == self.r.max()
        return int(min(self.lags[best].tolist(), key=abs))

    @property
    def best_r(self) -> float:
        return float(self.r.max())

    def at(self, lag: int) -> float:
        """The correlation at one lag."""
        return float(self.r[self.lags == lag][0])


def sync_curve(
    opening: Tensor, heard: Tensor, valid: Tensor | None = None, max_lag: int = MAX_LAG
) -> SyncCurve:
    """Correlate what is seen with what is heard at every lag.

    Args:
        opening: (T,) of the mouth in the video at 25 fps.
        heard:   (T',) opening that the sound asks for, the same clock.
        valid:   (T,) bool, frames with a usable face; None: all.
        max_lag: frames to either side.
    Returns:
        SyncCurve with 2 max_lag + 1 lags; 0 where a side does not move.
    Raises:
        ShapeError: fewer than MIN_OVERLAP + max_lag frames, or wrong shapes.
    """
    frames = check_shape("opening seen", opening, "T")["T"]
    check_shape("opening heard", heard, "S")
    valid = torch.ones(frames, dtype=torch.bool) if valid is None else valid
    check_shape("valid frames", valid, frames)
    if min(frames, len(heard)) < MIN_OVERLAP + max_lag:
        raise ShapeError(
            f"{min(frames, len(heard))} frames are too few to look for a lag of {max_lag}; use at least "
            f"{MIN_OVERLAP + max_lag}."
        )
    lags = torch.arange(-max_lag, max_lag + 1)
    values = []
    for lag in lags.tolist():  # opening[t] belongs to heard[t - lag]
        first, last = max(0, lag), min(frames, len(heard) + lag)
        usable = valid[first:last]
        values.append(
            correlation(opening[first:last][usable], heard[first - lag : last - lag][usable])
            if int(usable.sum()) >= MIN_OVERLAP
            else 0.0
        )
    return SyncCurve(lags, torch.tensor(values))


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's r of two (T,) series; 0 where one of them does not move."""
    a, b = (x.double() - x.double().mean() for x in (first, second))
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale > 1e-12 else 0.0


def hears_with(networks: SpeechNetworks, face_model: FaceModel) -> HearOpening:
    """The average speaker's mouth opening in canonical units, as speech networks of this project predict it
    from sound."""
    template = template_offsets(torch.zeros(face_model.identity_count), face_model)

    def hear(samples: Tensor, frames: int) -> Tensor:
        lower = predict_expression(samples, frames, style_vector(None, networks), template, networks)
        expression = torch.zeros(frames, face_model.expression_count)
        expression[:, : face_model.lower_count] = lower
        return mouth_opening(shape_vertices(None, expression, face_model), face_model)

    return hear


@dataclass(frozen=True, eq=False)
class SoundOpening:
    """The opening that a sound asks for, linear in its mel bands and fitted apart from the speech networks.

    weight (D,) of features (T, D). Call it with (S,) samples at 16 kHz and a count of frames at 25 fps:
    (T,) in clip deviations."""

    weight: Tensor

    def __call__(self, samples: Tensor, frames: int) -> Tensor:
        return sound_features(samples, frames) @ self.weight


def sound_features(samples: Tensor, frames: int) -> Tensor:
    """Log mel bands around each frame, less the clip's mean and over its deviation: (S,) at 16 kHz to
    (frames, D).

    Frame t sees the spectra of frames t - CONTEXT_FRAMES to t + CONTEXT_FRAMES; before and after the sound
    there is silence.
    """
    check_shape("samples", samples, "S")
    padded = torch.zeros(frames * SAMPLES_PER_FRAME)
    count = min(len(samples), len(padded))
    padded[:count] = samples[:count]
    hop = SAMPLES_PER_FRAME // STEPS_A_FRAME
    window = torch.hann_window(FFT_SIZE)
    # centred on each step
    pieces = F.pad(padded, (FFT_SIZE // 2 - hop // 2, FFT_SIZE // 2)).unfold(0, FFT_SIZE, hop)[
        : frames * STEPS_A_FRAME
    ]
    power = torch.fft.rfft(pieces * window).abs().square()  # (T * STEPS_A_FRAME, FFT_SIZE / 2 + 1)
    mel = (power @ _mel_bands().T + 1e-8).log()
    mel = (mel - mel.mean(0)) / mel.std(0).clamp_min(1e-3)
    rows = rearrange(mel, "(t s) b -> t (s b)", s=STEPS_A_FRAME)
    around = F.pad(rows, (0, 0, CONTEXT_FRAMES, CONTEXT_FRAMES)).unfold(
        0, 2 * CONTEXT_FRAMES + 1, 1
    )  # (T, s b, context)
    return rearrange(around, "t d c -> t (c d)")


def _mel_bands() -> Tensor:
    """(MEL_BANDS, FFT_SIZE / 2 + 1) triangles evenly spaced in mel from 60 Hz to 7.6 kHz."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (60.0, 7600.0))
    centre = torch.from_numpy(700 * (10 ** (np.linspace(low, high, MEL_BANDS + 2) / 2595) - 1)).float()
    hertz = torch.arange(FFT_SIZE // 2 + 1) * (SAMPLE_RATE / FFT_SIZE)
    rise = (hertz - centre[:-2, None]) / (centre[1:-1] - centre[:-2])[:, None]
    fall = (centre[2:, None] - hertz) / (centre[2:] - centre[1:-1])[:, None]
    return torch.minimum(rise, fall).clamp_min(0)


def save_sound_opening(path: Path, judge: SoundOpening, card: str) -> str:
    """Write the judge as safetensors; returns the sha256."""
    config = {"bands": MEL_BANDS, "steps": STEPS_A_FRAME, "context": CONTEXT_FRAMES, "fft": FFT_SIZE}
    return save_checkpoint(
        path, {"weight": judge.weight}, kind=JUDGE_KIND, config=config, licence="Apache-2.0", card=card
    )


def load_sound_opening(path: Path) -> SoundOpening:
    """Load a judge. Raises WeightsError when the file is missing, damaged or of another kind."""
    return SoundOpening(load_checkpoint(path, kind=JUDGE_KIND).tensors["weight"].float())
