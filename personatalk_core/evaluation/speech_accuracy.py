"""How well the predicted mouth follows the true one: clips animated by their own sound, in their own style, before rendering."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .. import pipeline
from ..config import MODEL_FPS, SAMPLE_RATE, DubOptions
from ..media.audio import read_audio, speech_samples
from ..media.video_reader import probe
from ..models import Models, load_models
from ..progress import Stages
from ..speech.lip_sync import generate_geometry
from ..types import FaceGeometry, Timeline
from .mouth_correlation import mouth_correlation
from .quality_benchmark import read_lags


def delayed(samples: np.ndarray, frames: float) -> np.ndarray:
    """Sound (S,) at 16 kHz moved later by frames of 1/25 s (earlier where negative), its length kept, silence at the ends."""
    shift = round(frames / MODEL_FPS * SAMPLE_RATE)
    moved = np.zeros_like(samples)
    if shift >= 0:
        moved[shift:] = samples[: len(samples) - shift]
    else:
        moved[:shift] = samples[-shift:]
    return moved


def spoken_by(geometry: FaceGeometry, samples: np.ndarray, models: Models) -> FaceGeometry:
    """The geometry speaking the samples in its own style, over its own frames."""
    style = pipeline.style_of([geometry], "own", models)
    timeline = Timeline(geometry.source_frame.numpy(), geometry.times.double().numpy(), geometry.durations.double().numpy())
    return generate_geometry(geometry, samples, style, models.speech, models.face_model, timeline)


def speech_accuracy(folder: Path, models: Models) -> dict[str, dict[str, float]]:
    """Scores of every clip.

    Args:
        folder: videos with sound; an INDEX.tsv in it or one folder up corrects lags (``av_lag_frames``).
    Returns:
        {clip: {"opening_r", "width_r", "opening_gain", "foreign_r"}}; foreign_r is the opening's correlation when the next
        clip's sound is heard instead.
    Raises:
        MediaError, FaceError: a clip cannot be read or shows no face.
    """
    lags = read_lags(Path(folder))
    clips = {}
    for path in sorted(Path(folder).glob("*.mp4")):
        geometry = pipeline.geometry_of_video(probe(path), models, DubOptions(), Stages())
        clips[path.stem] = geometry, delayed(speech_samples(read_audio(path)), lags.get(path.name, 0.0))
    names = list(clips)
    scores = {}
    for number, name in enumerate(names):
        geometry, own = clips[name]
        foreign = np.resize(clips[names[(number + 1) % len(names)]][1], len(own))
        scores[name] = mouth_correlation(spoken_by(geometry, own, models), geometry, models.face_model)
        other = mouth_correlation(spoken_by(geometry, foreign, models), geometry, models.face_model)
        scores[name] = scores[name] | {"foreign_r": other["opening_r"]}
    return scores


def table(scores: dict[str, dict[str, float]]) -> str:
    """Markdown: one row a clip, then the mean."""
    titles = list(next(iter(scores.values())))
    mean = {title: float(np.mean([row[title] for row in scores.values()])) for title in titles}
    lines = ["| clip | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    for name, row in (scores | {"**mean**": mean}).items():
        lines.append(f"| {name} | " + " | ".join(f"{row[title]:.3f}" for title in titles) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for a folder of videos."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder of videos with sound")
    models = load_models(DubOptions(), parts=("speech",))
    sys.stdout.write(table(speech_accuracy(parser.parse_args(arguments).data, models)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
