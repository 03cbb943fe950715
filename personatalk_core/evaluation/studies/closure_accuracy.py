"""Do generated lips close at /p/, /b/ and /m/ where the real ones do, and rest when nothing is said?

personatalk study closure-accuracy FOLDER [--pretrained MOONSHINE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...config import MODEL_FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, DubOptions
from ...dubbing.progress import Progress
from ...geometry.vertices import mouth_opening, shape_vertices
from ...models import Models, load_models
from ...speech.timeline import at_model_rate
from ...types import FaceGeometry
from ..metrics.lip_closure import (
    SILENCE_DB,
    SILENCE_SECONDS,
    Recogniser,
    closed_level,
    closures,
    hama_recogniser,
    phoneme_times,
)
from .talking_clips import TalkingClip, add_clip_options, load_judge, read_clips, spoken_by

EVENT_SLACK = 3  # frames by which the recogniser's time and the real closure may differ
OUTPUT_SLACK = 1  # frames by which the output's closure may come early or late
DIP_DECIBELS = 9.0  # below the louder of what comes before and after
SETTLE_FRAMES = 5  # after a sound ends a mouth may still be closing
MUTED_SECONDS = 1.5
# below the loud moments: nothing louder than this is a pause, however noisy the recording
QUIET_DECIBELS = -20.0
FLOOR_DECIBELS = 6.0  # above the quietest tenth of a recording, within which only its own noise is heard


def count_closures(output: Tensor, real: Tensor, events: Sequence[int] | None) -> tuple[int, int]:
    """Closures that the output makes, and those it should make.

    Args:
        output, real: (T,) openings at 25 fps.
        events:       frames at which the lips should meet; a real closure within EVENT_SLACK of one of them
            counts. None: every one.
    Returns:
        Hits and cases. The output is judged by its own closed level or the real one, whichever is higher.
    """
    level = closed_level(real)
    runs = closures(real, level)
    if events is not None:
        runs = [(a, b) for a, b in runs if any(a - EVENT_SLACK <= e < b + EVENT_SLACK for e in events)]
    level = max(level, closed_level(output))
    hits = [float(output[max(0, a - OUTPUT_SLACK) : b + OUTPUT_SLACK].min()) <= level for a, b in runs]
    return sum(hits), len(hits)


def sound_dips(samples: np.ndarray, frames: int) -> list[int]:
    """25 fps frames in which speech, (S,) at 16 kHz, falls by DIP_DECIBELS between louder moments at most 0.2
    s away on either side."""
    padded = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    level = 10 * np.log10(np.square(padded).reshape(frames, -1).mean(1) + 1e-9)
    dips = []
    for t in range(1, frames - 1):
        before, after = level[max(0, t - 5) : t].max(), level[t + 1 : t + 6].max()
        if (
            level[t] <= level[t - 1]
            and level[t] <= level[t + 1]
            and min(before, after) - level[t] > DIP_DECIBELS
        ):
            dips.append(t)
    return dips


def muted(samples: np.ndarray, seconds: float = MUTED_SECONDS) -> tuple[np.ndarray, Tensor]:
    """The sound with its middle silenced, at most half of it, and the 25 fps frames (T,) bool that lie in the
    silence."""
    length = min(int(seconds * SAMPLE_RATE), len(samples) // 2) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    begin = (len(samples) - length) // 2 // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
    out = samples.copy()
    out[begin : begin + length] = 0.0
    frames = torch.zeros(-(-len(samples) // SAMPLES_PER_FRAME), dtype=torch.bool)
    frames[begin // SAMPLES_PER_FRAME : (begin + length) // SAMPLES_PER_FRAME] = True
    return out, frames


def pauses(samples: np.ndarray, frames: int) -> Tensor:
    """25 fps frames (T,) bool in which for SILENCE_SECONDS nothing but the recording's own noise is heard;
    (S,) at 16 kHz.

    Few recordings fall to SILENCE_DB between words; what is quiet in one is told by its quietest tenth.
    """
    padded = np.zeros(frames * SAMPLES_PER_FRAME, np.float32)
    padded[: min(len(samples), len(padded))] = samples[: len(padded)]
    level = 10 * np.log10(np.square(padded).reshape(frames, -1).mean(1) + 1e-12)
    level -= np.quantile(level, 0.95)
    bound = max(SILENCE_DB, min(float(np.quantile(level, 0.1)) + FLOOR_DECIBELS, QUIET_DECIBELS))
    silent = torch.zeros(frames, dtype=torch.bool)
    for first, last in closures(torch.from_numpy(level).float(), bound):
        silent[first:last] = last - first >= SILENCE_SECONDS * MODEL_FPS
    return silent


def settled(silent: Tensor) -> Tensor:
    """Silent frames (T,) without the first SETTLE_FRAMES and the last two of every pause."""
    settled_frames = torch.zeros_like(silent)
    for first, last in closures((~silent).float(), 0.5):
        settled_frames[first + SETTLE_FRAMES : max(first + SETTLE_FRAMES, last - 2)] = True
    return settled_frames


def opening_of(geometry: FaceGeometry, models: Models) -> tuple[Tensor, Tensor, Tensor]:
    """Opening (T,), lip vertices (T, K, 3), both canonical, and usable (T,), at 25 fps."""
    expression, usable = at_model_rate(geometry)
    vertices = shape_vertices(geometry.identity, expression, models.face_model)
    return mouth_opening(vertices, models.face_model), vertices[:, models.face_model.lips], usable


def motion_energy(lips: Tensor, frames: Tensor) -> float:
    """Mean squared motion of lips (T, K, 3) from frame to frame within ``frames`` (T,) bool; NaN where no two
    follow each other."""
    pair = frames[1:] & frames[:-1]
    return (
        float(lips.diff(dim=0).square().sum(-1).mean(-1)[pair].mean()) if bool(pair.any()) else float("nan")
    )


def closure_accuracy(
    clips: Sequence[TalkingClip], models: Models, recognise: Recogniser | None
) -> dict[str, dict[str, float]]:
    """Closures and silences of every clip, spoken by its own sound in its own style.

    Returns:
        {clip: {"pbm_hits", "pbm_cases", "dip_hits", "dip_cases", "all_hits", "all_cases", "pause_frames",
        "pause_opening", "pause_opening_real", "pause_energy", "pause_energy_real", "muted_opening",
        "muted_energy", "rest_real"}}. Openings and energies in canonical units; pauses are real ones of over
        0.3 s, muted is a silence put into the middle of the sound; rest_real is the fifth percentile of the
        real opening. Without a recogniser there are no pbm columns.
    """
    rows = {}
    for clip in clips:
        real, real_lips, usable = opening_of(clip.geometry, models)
        output, lips, _ = opening_of(spoken_by(clip.geometry, clip.heard, models), models)
        sound = np.asarray(clip.heard)
        row: dict[str, float] = {}
        events = {"dip": sound_dips(sound, len(real)), "all": None}
        if recognise is not None:
            events = {"pbm": [int(t * MODEL_FPS) for t in phoneme_times(sound, recognise)]} | events
        for kind, times in events.items():
            row[f"{kind}_hits"], row[f"{kind}_cases"] = count_closures(output, real, times)
        pause = settled(pauses(sound, len(real))) & usable
        quiet, within = muted(sound)
        hushed, hushed_lips, _ = opening_of(spoken_by(clip.geometry, quiet, models), models)
        within = settled(torch.nn.functional.pad(within, (0, max(0, len(real) - len(within))))[: len(real)])
        row |= {
            "pause_frames": float(pause.sum()),
            "pause_opening": _mean(output[pause]),
            "pause_opening_real": _mean(real[pause]),
            "pause_energy": motion_energy(lips, pause),
            "pause_energy_real": motion_energy(real_lips, pause),
            "muted_opening": _mean(hushed[within]),
            "muted_energy": motion_energy(hushed_lips, within),
            "rest_real": float(real[usable].quantile(0.05)),
        }
        rows[clip.name] = row
    return rows


def _mean(series: Tensor) -> float:
    return float(series.mean()) if len(series) else float("nan")


def report(rows: dict[str, dict[str, float]]) -> str:
    """Markdown: every clip, then the sums and shares that count."""
    titles = list(next(iter(rows.values())))
    lines = ["| clip | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]
    lines += [
        f"| {name} | " + " | ".join(f"{row[t]:.3g}" for t in titles) + " |" for name, row in rows.items()
    ]
    lines.append("")
    for kind, words in (
        ("pbm", "at /p b m/"),
        ("dip", "at dips of the sound"),
        ("all", "wherever the real lips close"),
    ):
        if f"{kind}_hits" in titles:
            hits, cases = (
                int(sum(row[f"{kind}_{part}"] for row in rows.values())) for part in ("hits", "cases")
            )
            lines.append(f"closed {words}: {hits} of {cases} ({hits / max(cases, 1):.1%})")
    paused = [row for row in rows.values() if row["pause_energy"] == row["pause_energy"]]
    if paused:
        weight = [row["pause_frames"] for row in paused]
        own, real = (
            float(np.average([row[t] for row in paused], weights=weight))
            for t in ("pause_energy", "pause_energy_real")
        )
        middle = float(
            np.median([row["pause_energy"] / max(row["pause_energy_real"], 1e-12) for row in paused])
        )
        lines.append(
            f"motion energy in pauses over 0.3 s: {own / real:.2f} of the real one (median over "
            f"{len(paused)} clips {middle:.2f}), {int(sum(weight))} settled frames"
        )
        silenced = float(np.mean([row["muted_energy"] for row in rows.values()]))
        lines.append(f"motion energy where the sound was muted: {silenced / real:.2f} of that in real pauses")
    over = float(np.mean([row["muted_opening"] - row["rest_real"] for row in rows.values()]))
    lines.append(
        f"opening where the sound was muted: {over:+.3f} from the person's fifth percentile (1 is the "
        "distance of the eyes)"
    )
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    add_clip_options(parser)
    parser.add_argument("--no-phonemes", action="store_true", help="do without the phoneme recogniser")


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The report for a folder of videos."""
    models = load_models(DubOptions(), folder=args.weights, parts=("speech",))
    clips = read_clips(args.data, models, load_judge(args.pretrained), args.cache)
    return report(closure_accuracy(clips, models, None if args.no_phonemes else hama_recogniser()))
