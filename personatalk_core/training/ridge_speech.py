"""Fits the quality table's linear baseline of the speech stage, in closed form: ``python -m personatalk_core.training.ridge_speech``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import OptionsError
from ..evaluation.ridge_speech import RidgeSpeech, encoder_features, save_ridge_speech
from ..geometry.face_model import FaceModel, load_face_model
from ..speech.audio_encoder import AudioEncoder
from ..speech.networks import BUNDLED_AUDIO_ENCODER, load_speech_networks
from ..speech.timeline import at_model_rate
from ..types import OnProgress
from ..weights.checkpoint import sha256_of
from .preparation import PreparedClip, prepare_folder
from .sound_opening import in_step

RIDGE = 2e4  # against features of unit deviation


def train_ridge_speech(
    data: Path, out: Path, on_progress: OnProgress | None = None, *, cache: Path | None = None, face_model: FaceModel | None = None,
    ridge: float = RIDGE,
) -> Path:  # fmt: skip
    """Prepare a folder of talking people and write ``out``/ridge_speech.safetensors for the bundled audio encoder.

    Args:
        cache: of an earlier preparation; None: ``out``/cache.
    Raises:
        OptionsError: none of the people speaks.
    """
    face_model = face_model or load_face_model()
    prepared, _ = prepare_folder(Path(data), Path(cache or Path(out) / "cache"), face_model, on_progress)
    networks = load_speech_networks()
    networks.check_face_model(face_model)
    rows = [row for clip in prepared if (row := clip_rows(clip, networks.audio_encoder, face_model)) is not None]
    weight, mean = fit_ridge(rows, ridge)
    model = RidgeSpeech(weight, mean, sha256_of(BUNDLED_AUDIO_ENCODER), face_model.sha256)
    target = Path(out) / "ridge_speech.safetensors"
    card = f"Ridge regression from the bundled audio encoder's middle layer to lower-face motion about the clip's mean; {len(rows)} clips."
    save_ridge_speech(target, model, card)
    return target


def clip_rows(clip: PreparedClip, encoder: AudioEncoder, face_model: FaceModel) -> tuple[str, Tensor, Tensor] | None:
    """Speaker, features (T, K) and motion about the clip's mean (T, E_low) of a clip's usable frames; None where it does not speak."""
    if clip.samples is None:
        return None
    expression, usable = at_model_rate(clip.geometry)
    if int(usable.sum()) < 2:
        return None
    features = encoder_features(in_step(torch.from_numpy(clip.samples), clip.lag or 0.0), len(expression), encoder)
    lower = expression[usable, : face_model.lower_count]
    return clip.speaker, features[usable], lower - lower.mean(dim=0)


def fit_ridge(rows: Sequence[tuple[str, Tensor, Tensor]], ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Weights (K, E) and the features' mean (K,), every speaker counting as the root of their frames.

    Args:
        rows:  speaker, features (T, K), motion (T, E) of each clip.
        ridge: penalty against features of unit deviation; 0 is least squares.
    Raises:
        OptionsError: there is no clip.
    """
    if not rows:
        raise OptionsError("no clip has usable frames with speech; pass videos of talking people.")
    frames: dict[str, int] = {}
    for speaker, features, _ in rows:
        frames[speaker] = frames.get(speaker, 0) + len(features)
    share = torch.cat([torch.full((len(x),), 30 * frames[speaker] ** -0.5) for speaker, x, _ in rows]).double()
    x = torch.cat([x for _, x, _ in rows]).double()
    y = torch.cat([y for _, _, y in rows]).double()
    mean, scale = x.mean(dim=0), x.std(dim=0).clamp_min(1e-6)
    x = (x - mean) / scale
    gram = (x * share[:, None]).T @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    weight = torch.linalg.solve(gram, (x * share[:, None]).T @ y)
    return (weight / scale[:, None]).float(), mean.float()


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit on a folder of videos."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of videos of talking people")
    parser.add_argument("--out", type=Path, required=True, help="folder for the cache and ridge_speech.safetensors")
    parser.add_argument("--cache", type=Path, help="of an earlier preparation (OUT/cache of 'personatalk prepare')")
    args = parser.parse_args(arguments)
    sys.stdout.write(f"{train_ridge_speech(args.data, args.out, cache=args.cache)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
