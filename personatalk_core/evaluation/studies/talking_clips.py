"""Clips of talking people, fitted and with their sound, as the evaluations of the speech stage read them."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ... import pipeline
from ...config import MODEL_FPS, SAMPLE_RATE
from ...dubbing.run import Run
from ...geometry.vertices import mouth_opening, shape_vertices
from ...media.audio_stream import read_audio, speech_samples
from ...media.video_reader import probe
from ...models import Models
from ...speech.audio_encoder import AudioEncoder, from_moonshine
from ...speech.lip_sync import generate_geometry
from ...speech.style import style_vector
from ...speech.timeline import at_model_rate
from ...types import FaceGeometry, StyleEmbedding, Timeline
from ..benchmark.clips import cached_geometry, read_lags
from ..judges.speech_ridge import (
    BUNDLED_RIDGE,
    SpeechRidge,
    load_speech_ridge,
    ridge_features,
    shift_between,
)


@dataclass(frozen=True, eq=False)
class TalkingClip:
    """One clip: its geometry, its sound (S,) at 16 kHz, and the lag in 25 fps frames by which its mouth comes
    later than its sound.

    stated: of an INDEX.tsv, 0 where there is none.  found: by the ridge regression, None without a pretrained
        encoder.
    """

    name: str
    geometry: FaceGeometry
    samples: np.ndarray
    stated: float
    found: float | None = None

    @property
    def lag(self) -> float:
        """The best lag there is."""
        return self.stated if self.found is None else self.found

    @property
    def heard(self) -> np.ndarray:
        """The sound, in step with the mouth."""
        return delayed(self.samples, self.lag)


def delayed(samples: np.ndarray, frames: float) -> np.ndarray:
    """Sound (S,) at 16 kHz moved later by frames of 1/25 s (earlier where negative), its length kept, silence
    at the ends."""
    shift = round(frames / MODEL_FPS * SAMPLE_RATE)
    moved = np.zeros_like(samples)
    if shift >= 0:
        moved[shift:] = samples[: len(samples) - shift]
    else:
        moved[:shift] = samples[-shift:]
    return moved


def timeline_of(geometry: FaceGeometry) -> Timeline:
    """A timeline that shows every frame of a geometry when it was filmed."""
    return geometry.timeline


def spoken_by(
    geometry: FaceGeometry, samples: np.ndarray, models: Models, style: StyleEmbedding | None = None
) -> FaceGeometry:
    """The geometry speaking the samples, in its own style unless another is given, over its own frames."""
    style = style or pipeline.extract_style(geometry, Run(models), "own")
    return generate_geometry(
        geometry,
        samples,
        style_vector(style, models.need_speech()),
        models.need_speech(),
        models.face_model,
        timeline_of(geometry),
    )


def add_clip_options(parser: argparse.ArgumentParser, pretrained: str = "finds each clip's lag") -> None:
    """Where clips, weights and kept fits are, as every evaluation of speech is told; ``pretrained``: what
    that file does."""
    parser.add_argument("data", type=Path, help="folder of videos with sound")
    parser.add_argument("--pretrained", type=Path, help=f"Moonshine-tiny's encoder as released: {pretrained}")
    parser.add_argument("--weights", type=Path, help="folder of other weights")
    parser.add_argument("--cache", type=Path, help="folder to keep fitted geometry in")


def read_clips(
    folder: Path,
    models: Models,
    judge: tuple[SpeechRidge, AudioEncoder] | None = None,
    cache: Path | None = None,
) -> list[TalkingClip]:
    """Track, fit and hear every video of a folder.

    Args:
        folder: videos with sound; an INDEX.tsv in it or one folder up states lags (``av_lag_frames``).
        judge:  finds the lag of each clip to a fraction of a frame; see ``speech_ridge``.
        cache:  folder for fitted geometry.
    Raises:
        MediaError, FaceError: a clip cannot be read or shows no face.
    """
    lags = read_lags(Path(folder))
    clips = []
    for path in sorted(Path(folder).glob("*.mp4")):
        geometry = cached_geometry(probe(path), Run(models), cache)
        samples = speech_samples(read_audio(path))
        found = None if judge is None else found_lag(geometry, samples, models, *judge)
        clips.append(TalkingClip(path.stem, geometry, samples, lags.get(path.name, 0.0), found))
    return clips


def found_lag(
    geometry: FaceGeometry, samples: np.ndarray, models: Models, ridge: SpeechRidge, encoder: AudioEncoder
) -> float:
    """Frames at 25 fps, with a fraction, by which the mouth comes later than its sound, as ridge regression
    hears it."""
    expression, usable = at_model_rate(geometry)
    features = ridge_features(torch.from_numpy(samples), len(expression), encoder)
    opening = mouth_opening(
        shape_vertices(geometry.identity, expression, models.face_model), models.face_model
    )
    return shift_between(ridge(features)[0].numpy(), opening.numpy(), usable.numpy())


def load_judge(pretrained: Path | None, ridge: Path | None = None) -> tuple[SpeechRidge, AudioEncoder] | None:
    """The regression and the encoder it was fitted on, Moonshine-tiny as released; None without its file.
    Raises WeightsError."""
    if pretrained is None:
        return None
    return load_speech_ridge(ridge or BUNDLED_RIDGE), from_moonshine(pretrained).eval()
