"""Fits the linear judge of lip sync: from the mel bands of a talker's sound to the opening of the talker's
mouth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...config import SAMPLES_PER_FRAME
from ...errors import OptionsError
from ...evaluation.metrics.lip_sync_score import SoundOpening, save_sound_opening, sound_features
from ...geometry.face_model import FaceModel, load_face_model
from ...geometry.vertices import mouth_opening, shape_vertices
from ...speech.timeline import at_model_rate
from ...types import OnProgress
from ..data.preparation import prepare_folder

RIDGE = 10_000.0  # against features and openings of unit deviation


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
    clips: Sequence[tuple[str, Tensor, Tensor, Tensor]], ridge: float = RIDGE
) -> SoundOpening:
    """Ridge regression over all clips, every speaker counting as the root of their frames.

    Args:
        clips: speaker, sound in step (S,) at 16 kHz, opening (T,) at 25 fps, usable (T,) bool.
    Raises:
        OptionsError: no clip has two usable frames.
    """
    frames: dict[str, int] = {}
    for speaker, _, _, usable in clips:
        frames[speaker] = frames.get(speaker, 0) + int(usable.sum())
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
