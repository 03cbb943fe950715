"""Fits the linear judges: the ridge regression that the speech stage is measured against, and the one from
mel bands to the opening of a mouth that judges lip sync.

personatalk study speech-ridge --data TRAIN --out FOLDER --pretrained FILE
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...config import SAMPLES_PER_FRAME
from ...dubbing.progress import Progress
from ...errors import OptionsError
from ...evaluation.judges.speech_ridge import SpeechRidge, ridge_features, save_speech_ridge
from ...evaluation.metrics.lip_sync_score import SoundOpening, save_sound_opening, sound_features
from ...geometry.face_model import FaceModel, load_face_model
from ...geometry.vertices import mouth_opening, shape_vertices
from ...speech.audio_encoder import AudioEncoder, from_moonshine
from ...speech.timeline import at_model_rate
from ...types import OnProgress
from ..data.hold_out import frames_by_speaker
from ..data.preparation import prepare_folder
from .data import SpeechClip
from .losses import MouthMeasure
from .train import speech_clips

SPEECH_RIDGE = 2e4
SOUND_RIDGE = 10_000.0  # against features and openings of unit deviation


def train_speech_ridge(data: Path, out: Path, pretrained: Path, face_model: FaceModel | None = None) -> Path:
    """Prepare a folder of talking people, correct their lags, fit, and write
    ``out``/speech_ridge.safetensors.

    Raises:
        OptionsError: nobody speaks.  WeightsError: ``pretrained`` is no Moonshine encoder.
    """
    out, face_model = Path(out), face_model or load_face_model()
    encoder = from_moonshine(Path(pretrained)).eval()
    prepared, _ = prepare_folder(data, out / "cache", face_model)
    clips = speech_clips(prepared, face_model, encoder)
    judge = fit_speech_ridge(clips, encoder, face_model)
    card = (
        f"Ridge regression of mouth and lower face on frozen Moonshine-tiny features; {len(clips)} "
        "training clips, lags corrected."
    )
    save_speech_ridge(out / "speech_ridge.safetensors", judge, card)
    return out / "speech_ridge.safetensors"


@torch.inference_mode()
def fit_speech_ridge(
    clips: Sequence[SpeechClip], encoder: AudioEncoder, face_model: FaceModel, ridge: float = SPEECH_RIDGE
) -> SpeechRidge:
    """Ridge regression from features, ``lag`` frames earlier, to opening, width and lower expression less
    their means over the clip.

    Raises:
        OptionsError: no clip has two usable frames with sound.
    """
    measure = MouthMeasure(face_model)
    inputs, targets = [], []
    for clip in clips:
        heard = torch.arange(clip.frame_count) - round(clip.lag)
        use = clip.valid & (heard >= 0) & (heard < clip.frame_count)
        if int(use.sum()) < 2:
            continue
        opening, width = (x[0] for x in measure(clip.expression[None], clip.identity[None]))
        target = torch.cat((opening[:, None], width[:, None], clip.expression), dim=1)[use]
        features = ridge_features(torch.from_numpy(clip.samples), clip.frame_count, encoder)
        inputs.append(features[heard[use]])
        targets.append(target - target.mean(0))
    if not inputs:
        raise OptionsError("no clip has usable frames with sound; pass videos of talking people.")
    x, y = torch.cat(inputs), torch.cat(targets)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / scale
    gram = x.T @ x + ridge * torch.eye(x.shape[1])
    return SpeechRidge(torch.linalg.solve(gram, x.T @ y), mean, scale, face_model.sha256)


def train_sound_opening(
    data: Path, out: Path, on_progress: OnProgress | None = None, *, face_model: FaceModel | None = None
) -> Path:
    """Prepare a folder of talking people and write ``out``/sync_judge.safetensors. Raises OptionsError when
    none of them speaks."""
    out, face_model = Path(out), face_model or load_face_model()
    prepared, _ = prepare_folder(data, out / "cache", face_model, on_progress)
    clips = []
    for clip in (c for c in prepared if c.samples is not None):
        expression, usable = at_model_rate(clip.geometry)
        identity = clip.geometry.identity
        opening = mouth_opening(shape_vertices(identity, expression, face_model), face_model)
        clips.append(
            (clip.speaker, in_step(torch.from_numpy(clip.samples), clip.lag or 0.0), opening, usable)
        )
    judge = fit_sound_opening(clips)
    save_sound_opening(
        out / "sync_judge.safetensors",
        judge,
        f"Ridge regression of the mouth opening on mel bands; {len(clips)} clips.",
    )
    return out / "sync_judge.safetensors"


def in_step(samples: Tensor, lag: float) -> Tensor:
    """Sound (S,) moved later by ``lag`` frames at 25 fps, so that it meets the mouth."""
    shift = round(lag * SAMPLES_PER_FRAME)
    return torch.cat([torch.zeros(shift), samples]) if shift >= 0 else samples[-shift:]


def fit_sound_opening(
    clips: Sequence[tuple[str, Tensor, Tensor, Tensor]], ridge: float = SOUND_RIDGE
) -> SoundOpening:
    """Ridge regression over all clips, every speaker counting as the root of their frames.

    Args:
        clips: speaker, sound in step (S,) at 16 kHz, opening (T,) at 25 fps, usable (T,) bool.
    Raises:
        OptionsError: no clip has two usable frames.
    """
    frames = frames_by_speaker((speaker, int(usable.sum())) for speaker, _, _, usable in clips)
    gram, moment = None, None
    for speaker, samples, opening, usable in clips:
        if int(usable.sum()) < 2:
            continue
        x = sound_features(samples, len(opening))[usable].double()
        y = opening[usable].double()
        y = (y - y.mean()) / y.std().clamp_min(1e-3)
        share = frames[speaker] ** -0.5 * 30  # a speaker with 900 frames has weight 1 a frame
        gram = share * x.T @ x + (0 if gram is None else gram)
        moment = share * x.T @ y + (0 if moment is None else moment)
    if gram is None:
        raise OptionsError("no clip has usable frames with sound; pass videos of talking people.")
    weight = torch.linalg.solve(gram + ridge * torch.eye(len(gram), dtype=gram.dtype), moment)
    return SoundOpening(weight.float())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``personatalk study speech-ridge``."""
    parser.add_argument("--data", type=Path, required=True, help="folder of training videos")
    parser.add_argument("--out", type=Path, required=True, help="folder for the cache and the weights")
    parser.add_argument(
        "--pretrained", type=Path, required=True, help="Moonshine-tiny's encoder as released, safetensors"
    )


def run(args: argparse.Namespace, progress: Progress) -> str:
    """Fit from a folder of videos, and say where the weights are."""
    return str(train_speech_ridge(args.data, args.out, args.pretrained))
