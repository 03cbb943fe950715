"""The linear baseline of the speech stage: ridge regression from features of the shipped audio encoder to lower-face motion.

It hears with the encoder of the lip-sync network (one middle layer, before anything learned for faces but the fine-tuning
itself) and has no style: the person's mean mouth plus one linear map for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..config import SAMPLES_PER_FRAME
from ..errors import FaceModelMismatchError
from ..geometry.face_model import FaceModel
from ..speech.audio_encoder import AudioEncoder, clip_statistics
from ..weights.checkpoint import load_checkpoint, save_checkpoint
from ..weights.manifest import BUNDLED_FOLDER, read_manifest
from ..weights.resolver import resolve_weights

KIND = "ridge_speech"
CONTEXT = 3  # frames to either side
PIECE = 500  # frames heard at once
MARGIN = 50 * SAMPLES_PER_FRAME


@dataclass(frozen=True, eq=False)
class RidgeSpeech:
    """weight (K, E_low) on features (T, K) less their mean (K,): motion about the person's mean.  encoder, face_model: sha256."""

    weight: Tensor
    mean: Tensor
    encoder: str
    face_model: str

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) @ self.weight

    def check(self, encoder: str, face_model: FaceModel) -> None:
        """Raise FaceModelMismatchError where the coefficients were fitted to other weights."""
        if (encoder, face_model.sha256) != (self.encoder, self.face_model):
            raise FaceModelMismatchError(
                "the ridge regression was fitted to another audio encoder or face model; fit it again: "
                "python -m personatalk_core.training.ridge_speech --data DIR --out DIR."
            )


@torch.inference_mode()
def encoder_features(samples: Tensor, frames: int, encoder: AudioEncoder) -> Tensor:
    """The encoder's middle layer at each frame at 25 fps and CONTEXT frames around it: (S,) at 16 kHz to (frames, K)."""
    statistics = clip_statistics(encoder, samples)
    padded = F.pad(samples, (MARGIN, MARGIN + frames * SAMPLES_PER_FRAME))
    parts = []
    for first in range(0, frames, PIECE):
        count, begin = min(PIECE, frames - first), first * SAMPLES_PER_FRAME
        layers = encoder.backbone(padded[None, begin : begin + count * SAMPLES_PER_FRAME + 2 * MARGIN], statistics)
        middle = layers[(len(layers) + 1) // 2][0]  # (T', D')
        place = (MARGIN + SAMPLES_PER_FRAME * (torch.arange(count) + 0.5) - encoder.backbone.centre) / encoder.backbone.hop
        place = place.clamp(0, len(middle) - 1)
        left = place.floor().long().clamp(max=max(len(middle) - 2, 0))
        part = (place - left)[:, None]
        parts.append(middle[left] * (1 - part) + middle[(left + 1).clamp(max=len(middle) - 1)] * part)
    x = F.pad(torch.cat(parts), (0, 0, CONTEXT, CONTEXT))
    return x.unfold(0, 2 * CONTEXT + 1, 1).reshape(frames, -1)


def save_ridge_speech(path: Path, ridge: RidgeSpeech, card: str) -> str:
    """Write the coefficients as safetensors; returns the sha256."""
    config = {"encoder": ridge.encoder, "face_model": ridge.face_model, "context": CONTEXT}
    tensors = {"weight": ridge.weight.half(), "mean": ridge.mean.half()}
    return save_checkpoint(path, tensors, kind=KIND, config=config, licence="MIT", card=card)


def load_ridge_speech(path: Path) -> RidgeSpeech:
    """Load coefficients. Raises WeightsError when the file is missing, damaged or of another kind."""
    checkpoint = load_checkpoint(path, kind=KIND)
    tensors = checkpoint.tensors
    return RidgeSpeech(tensors["weight"].float(), tensors["mean"].float(), checkpoint.config["encoder"], checkpoint.config["face_model"])


def bundled_ridge_speech() -> RidgeSpeech | None:
    """The coefficients that this release ships; None where it ships none. Raises WeightsError when the file is damaged."""
    if KIND not in read_manifest(BUNDLED_FOLDER):
        return None
    return load_ridge_speech(resolve_weights(KIND).path)
