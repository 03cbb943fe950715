"""What plain ridge regression on a pretrained speech encoder says about a mouth: the baseline to beat, and an
independent judge of lags.

It was fitted on training people only, the encoder is as its makers released it, and it shares no trained
number with the networks that are measured. Knows nothing of styles.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...checks import check_shape
from ...config import SAMPLES_PER_FRAME
from ...speech.audio_encoder import AudioEncoder
from ...weights.checkpoint import load_checkpoint, save_checkpoint

KIND = "speech_ridge"
BUNDLED_RIDGE = Path(__file__).resolve().parents[2] / "weights" / "speech_ridge.safetensors"
CONTEXT_FRAMES = 3
PIECE_FRAMES = 500
MARGIN_FRAMES = 50  # of sound to either side of a piece
MAX_LAG = 8  # frames


@dataclass(frozen=True, eq=False)
class SpeechRidge:
    """weight (K, 2 + E_low), mean (K,) and scale (K,) of the features.  face_model: sha256.

    Called with features (T, K) it gives how far opening (T,), width (T,), both in canonical units, and the
    lower expression (T, E_low) are from the clip's own mean.
    """

    weight: Tensor
    mean: Tensor
    scale: Tensor
    face_model: str

    def __call__(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = ((features - self.mean) / self.scale) @ self.weight
        return out[:, 0], out[:, 1], out[:, 2:]


@torch.inference_mode()
def ridge_features(samples: Tensor, frames: int, encoder: AudioEncoder) -> Tensor:
    """(T, K) features of the middle layer of an encoder's backbone at 25 fps, with CONTEXT_FRAMES to either
    side.

    samples: (S,) at 16 kHz; sample 0 sounds when frame 0 begins; silence is assumed around it.
    """
    check_shape("samples", samples, "S")
    parts = []
    margin = SAMPLES_PER_FRAME * MARGIN_FRAMES
    padded = F.pad(samples, (margin, margin + frames * SAMPLES_PER_FRAME))
    for first in range(0, frames, PIECE_FRAMES):
        count = min(PIECE_FRAMES, frames - first)
        begin = first * SAMPLES_PER_FRAME
        layers = encoder.backbone(padded[None, begin : begin + count * SAMPLES_PER_FRAME + 2 * margin])
        parts.append(encoder.at_frames(layers[(len(layers) + 1) // 2], margin, count)[0])
    x = F.pad(torch.cat(parts), (0, 0, CONTEXT_FRAMES, CONTEXT_FRAMES))
    return x.unfold(0, 2 * CONTEXT_FRAMES + 1, 1).reshape(frames, -1)


def shift_between(predicted: np.ndarray, seen: np.ndarray, valid: np.ndarray) -> float:
    """Frames, with a fraction, by which ``seen`` comes later than ``predicted``, where their correlation
    peaks.

    All (T,); valid is bool. A parabola through the peak and its neighbours gives the fraction; at the border
    of MAX_LAG there is none.
    """
    scores = []
    frames = np.arange(len(seen))
    for lag in range(-MAX_LAG, MAX_LAG + 1):
        heard = frames - lag
        use = valid & (heard >= 0) & (heard < len(frames))
        a, b = predicted[heard[use]], seen[use]
        scores.append(
            float(np.corrcoef(a, b)[0, 1]) if use.sum() > 10 and a.std() > 1e-9 and b.std() > 1e-9 else -1.0
        )
    best = int(np.argmax(scores))
    if 0 < best < len(scores) - 1:
        left, top, right = scores[best - 1 : best + 2]
        bend = left - 2 * top + right
        return best - MAX_LAG + (0.5 * (left - right) / bend if bend < 0 else 0.0)
    return float(best - MAX_LAG)


def save_speech_ridge(path: Path, ridge: SpeechRidge, card: str) -> str:
    """Write the regression in half precision; returns the sha256."""
    tensors = {name: getattr(ridge, name).half() for name in ("weight", "mean", "scale")}
    return save_checkpoint(
        path, tensors, kind=KIND, config={"face_model": ridge.face_model}, licence="Apache-2.0", card=card
    )


def load_speech_ridge(path: Path = BUNDLED_RIDGE) -> SpeechRidge:
    """Load a regression. Raises WeightsError when the file is missing, damaged or of another kind."""
    checkpoint = load_checkpoint(path, kind=KIND)
    tensors = {name: checkpoint.tensors[name].float() for name in ("weight", "mean", "scale")}
    return SpeechRidge(**tensors, face_model=checkpoint.config["face_model"])
