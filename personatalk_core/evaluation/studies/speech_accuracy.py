"""How well the predicted mouth follows the true one: clips animated by their own sound, in their own style,
before rendering.

personatalk study speech-accuracy FOLDER [--pretrained MOONSHINE] [--disturb 10]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ...compose.crop import crop_boxes
from ...config import DubOptions
from ...dubbing.progress import Progress
from ...geometry.vertices import canonical_vertices
from ...models import Models, load_models
from ...speech.audio_encoder import AudioEncoder
from ...speech.timeline import at_model_rate, interpolate_frames
from ...types import FaceGeometry
from ..judges.speech_ridge import SpeechRidge, ridge_features
from ..metrics.landmark_distance import landmark_distance, lip_landmarks, mouth_correlation, mouth_series
from ..metrics.lip_sync_score import correlation
from .sound_disturbances import DISTURBANCES, disturb
from .talking_clips import (
    TalkingClip,
    add_clip_options,
    delayed,
    load_judge,
    read_clips,
    spoken_by,
)

CROP = 256  # pixels a side of the crop that LMD is measured in
OUTPUT_LAGS = range(-4, 5)  # frames


def speech_accuracy(
    clips: Sequence[TalkingClip],
    models: Models,
    judge: tuple[SpeechRidge, AudioEncoder] | None = None,
    decibels: float | None = None,
) -> dict[str, dict[str, dict[str, float]]]:
    """Scores of every clip in every row.

    Args:
        clips:    at least two, so that one can hear another's sound.
        judge:    adds the rows of the ridge regression and of the lags that it finds.
        decibels: adds rows with hiss, babble and music this far below the speech.
    Returns:
        {row: {clip: {"opening_r", "width_r", "lmd", "opening_gain", "best_lag"}}}; lmd in pixels of a
        256-pixel crop, best_lag
        in frames of the video: how much later the output's mouth moves than the true one where they agree
            best.
    """
    rows: dict[str, dict[str, dict[str, float]]] = {}
    last = "ours, lag found" if judge else "ours, lag stated"
    for number, clip in enumerate(clips):
        stated = replace(clip, found=None)
        other = clips[(number + 1) % len(clips)]
        outputs = {"ours, lag stated": spoken_by(clip.geometry, stated.heard, models)}
        if judge is not None:
            outputs["ours, lag found"] = spoken_by(clip.geometry, clip.heard, models)
            outputs["ridge regression, lag found"] = ridge_geometry(clip, models, *judge)
        outputs["the clip's own mean mouth"] = mean_mouth(clip.geometry, models)
        outputs["ours, another clip's sound"] = spoken_by(
            clip.geometry, np.resize(other.heard, len(clip.samples)), models
        )
        for kind in DISTURBANCES:
            if decibels is None:
                continue
            others = [c.samples for c in clips if c is not clip]
            noisy = delayed(disturb(clip.samples, kind, decibels, others), clip.lag)
            outputs[f"{last}, {kind} at {decibels:g} dB"] = spoken_by(clip.geometry, noisy, models)
        for row, output in outputs.items():
            rows.setdefault(row, {})[clip.name] = score(output, clip.geometry, models)
    return rows


def score(output: FaceGeometry, truth: FaceGeometry, models: Models) -> dict[str, float]:
    """One output against the truth, frame by frame. See :func:`speech_accuracy`."""
    face_model, keep = models.face_model, truth.usable
    measured = mouth_correlation(output, truth, face_model)
    pixels = truth.scale[keep].double() * CROP / crop_boxes(truth, face_model).box[keep, 2]
    lips, true_lips = (
        lip_landmarks(canonical_vertices(g, face_model)[keep], face_model) for g in (output, truth)
    )
    series = mouth_series(output, face_model)[0], mouth_series(truth, face_model)[0]
    return measured | {
        "lmd": float((landmark_distance(lips, true_lips) * pixels).mean()),
        "best_lag": best_lag(*series),
    }


def best_lag(output: Tensor, truth: Tensor) -> float:
    """Frames by which an output's opening (T,) comes later than the true one, where they agree best; NaN for
    a still mouth."""
    if float(output.std()) < 1e-6:
        return float("nan")
    edge = max(OUTPUT_LAGS)
    middle = truth[edge : len(truth) - edge]
    return float(
        max(OUTPUT_LAGS, key=lambda lag: correlation(output[edge + lag : len(output) - edge + lag], middle))
    )


def ridge_geometry(
    clip: TalkingClip, models: Models, ridge: SpeechRidge, encoder: AudioEncoder
) -> FaceGeometry:
    """The clip's own mean mouth, moved as the ridge regression hears it."""
    frames = len(at_model_rate(clip.geometry)[0])
    lower = ridge(ridge_features(torch.from_numpy(clip.heard), frames, encoder))[2]
    moved = interpolate_frames(lower, clip.geometry.times.double(), clip.geometry.durations.double())
    still = mean_mouth(clip.geometry, models)
    expression = still.expression.clone()
    expression[:, : models.face_model.lower_count] += moved
    return replace(still, expression=expression)


def mean_mouth(geometry: FaceGeometry, models: Models) -> FaceGeometry:
    """The geometry with its mean lower face in every frame: what a mouth that hears nothing can reach."""
    expression = geometry.expression.clone()
    lower = models.face_model.lower_count
    expression[:, :lower] = rearrange(geometry.expression[geometry.usable, :lower].mean(0), "e -> 1 e")
    return replace(geometry, expression=expression)


def table(rows: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: the mean of every row, then every clip of the row with the best lag there is."""
    titles = ("opening_r", "width_r", "lmd", "opening_gain", "best_lag")
    lines = _table("row (means over clips)", {row: means(clips) for row, clips in rows.items()}, titles)
    best = next(row for row in ("ours, lag found", "ours, lag stated") if row in rows)
    return "\n".join(lines + ["", *_table(best, rows[best], titles)])


def means(clips: dict[str, dict[str, float]]) -> dict[str, float]:
    """Mean of every score over clips, those that have none left out."""
    found = {
        title: [row[title] for row in clips.values() if not np.isnan(row[title])]
        for title in next(iter(clips.values()))
    }
    return {title: float(np.mean(values)) if values else float("nan") for title, values in found.items()}


def _table(corner: str, rows: dict[str, dict[str, float]], titles: Sequence[str]) -> list[str]:
    lines = [f"| {corner} | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    return lines + [
        f"| {name} | " + " | ".join(f"{row[title]:.3f}" for title in titles) + " |"
        for name, row in rows.items()
    ]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    add_clip_options(parser, "finds lags, adds the ridge baseline")
    parser.add_argument("--ridge", type=Path, help="regression to use; default: the bundled one")
    parser.add_argument(
        "--disturb", type=float, metavar="DB", help="also hear the speech with noise this far below it"
    )


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The tables for a folder of videos; before them each clip's lag, where a judge finds it."""
    models = load_models(DubOptions(), folder=args.weights, parts=("speech",))
    judge = load_judge(args.pretrained, args.ridge)
    clips = read_clips(args.data, models, judge, args.cache)
    lags = [
        f"{clip.name}: lag stated {clip.stated:g}, found {clip.found:.2f}"
        for clip in clips
        if clip.found is not None
    ]
    return "\n".join([*lags, table(speech_accuracy(clips, models, judge, args.disturb))])
