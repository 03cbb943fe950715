"""What each part of the speech stage is worth: short runs of one budget, each without one part, scored on
speakers none of them saw.

personatalk study speech-ablations --data TRAIN --out FOLDER [--steps 100] [--hold-out SPEAKER ...]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...dubbing.progress import Progress
from ...evaluation.metrics.lip_closure import closure_rate
from ...evaluation.studies.style_accuracy import nearest_speaker, own_style, pieces
from ...geometry.face_model import FaceModel, load_face_model
from ...models import Models
from ...speech.networks import SpeechNetworks, network_for
from ...types import OnProgress
from ...weights.checkpoint import write_atomically
from ..data.preparation import prepare_folder
from ..recipe import TRAIN_DEFAULTS, TrainOptions
from ..trainer import Trainer
from .data import SpeechClip
from .losses import MouthMeasure
from .scores import clip_style, predict_clip, score_clip, speaker_mean
from .task import SpeechTask, SpeechTraining
from .train import planned_lags, speech_clips, speech_recipe, split_speech, start_encoder, write_plan

STEPS = 100  # of every variant

VARIANTS = (
    "all parts",
    "without style",
    "without fine-tuning",
    "without closure term",
    "without liveliness term",
)


def variant(options: SpeechTraining, name: str) -> SpeechTraining:
    """The options with one part of VARIANTS taken away."""
    changes = {
        "all parts": {},
        "without style": {"style": False, "loss": replace(options.loss, style=0.0)},
        "without fine-tuning": {"frozen_steps": options.steps + 1},
        "without closure term": {"loss": replace(options.loss, closure=0.0)},
        "without liveliness term": {"loss": replace(options.loss, liveliness=0.0)},
    }
    return replace(options, **changes[name])


@dataclass(frozen=True)
class AblationRow:
    """Means over held-out speakers. spread: of the opening, over the true one. closures: share of the real
    closures that are made. style_1nn: share of held-out speakers' clips or pieces whose nearest other one is
    the same speaker's; NaN without style."""

    name: str
    opening_r: float
    width_r: float
    vertex_error: float
    spread: float
    closures: float
    style_1nn: float


def speech_ablations(
    data: Path,
    out: Path,
    options: TrainOptions = TRAIN_DEFAULTS,
    on_progress: OnProgress | None = None,
    *,
    names: Sequence[str] = VARIANTS,
    face_model: FaceModel | None = None,
) -> list[AblationRow]:
    """Train every variant (resumable, a folder each) and score it.

    Args:
        data, out, options: as of ``train_speech``; ``out``/cache holds prepared clips. Every variant takes
            the steps, and its backbone learns from a fifth of them on.
        on_progress: steps done of all.
    """
    out, face_model = Path(out), face_model or load_face_model()
    steps = options.steps or STEPS
    prepared, left_out = prepare_folder(data, out / "cache", face_model)
    encoder = start_encoder("moonshine", options.encoder_weights)
    clips = speech_clips(prepared, face_model, encoder, lags=planned_lags(out))
    base = replace(speech_recipe(options), steps=steps, frozen_steps=steps // 5, check_every=steps)
    split = split_speech(data, clips, base)
    write_plan(out, split, left_out)
    rows = []
    for number, name in enumerate(names):
        torch.manual_seed(options.seed)
        encoder = start_encoder("moonshine", options.encoder_weights)
        recipe = variant(base, name)
        networks = SpeechNetworks(
            encoder, network_for(face_model, width=encoder.config.width, dropout=recipe.dropout)
        )
        task = SpeechTask(networks, face_model, *split, recipe)
        trainer = Trainer(task, recipe.loop, out / name.replace(" ", "_"))
        best = task.result(
            trainer.run(
                (lambda done, _, n=number: on_progress(n * steps + done, len(names) * steps))
                if on_progress
                else None
            )
        )
        rows.append(score_variant(name, best, split[1], face_model, recipe.style))
        write_atomically(out / "ablations.json", json.dumps([vars(row) for row in rows], indent=1).encode())
    return rows


def score_variant(
    name: str, networks: SpeechNetworks, clips: Sequence[SpeechClip], face_model: FaceModel, style: bool
) -> AblationRow:
    """Held-out clips spoken by one variant."""
    measure, scores, errors, closed = MouthMeasure(face_model), [], [], []
    for clip in clips:
        asked = clip_style(clip, networks) if style else torch.zeros(networks.lip_sync.config.width)
        predicted = predict_clip(clip, networks, face_model, asked)
        scores.append(score_clip(clip, predicted, measure))
        offsets = networks.lip_sync.offsets(predicted - clip.expression)[clip.valid]
        errors.append(float(offsets.norm(dim=-1).mean()))
        opening, true_opening = (
            measure(x[None], clip.identity[None])[0][0] for x in (predicted, clip.expression)
        )
        closed.append(closure_rate(opening, true_opening))
    nearest = float("nan")
    if style:
        parts = pieces([c.expression[c.valid] for c in clips], [c.speaker for c in clips])
        per = nearest_speaker(
            parts,
            own_style(Models(Path(), face_model, networks, None, torch.device("cpu"), torch.float32, {})),
        )
        nearest = sum(per.values()) / max(len(per), 1)
    means = {field: speaker_mean(scores, field) for field in ("opening_r", "width_r", "opening_gain")}
    error = sum(errors) / len(errors)
    made = [c for c in closed if c == c]
    share = sum(made) / max(len(made), 1)
    return AblationRow(
        name, means["opening_r"], means["width_r"], error, means["opening_gain"], share, nearest
    )


def table(rows: Sequence[AblationRow]) -> str:
    """Markdown; the vertex error is in hundredths of the distance of the eyes."""
    lines = [
        "| variant | opening r | width r | vertex error x 100 | spread | closures | style 1-NN |",
        "|---" * 7 + "|",
    ]
    for r in rows:
        figures = (r.opening_r, r.width_r, 100 * r.vertex_error, r.spread, r.closures, r.style_1nn)
        lines.append(f"| {r.name} | " + " | ".join("-" if f != f else f"{f:.3f}" for f in figures) + " |")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``personatalk study speech-ablations``."""
    parser.add_argument("--data", type=Path, required=True, help="folder of training videos")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the cache, the runs and ablations.json"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hold-out", nargs="+", default=[], metavar="SPEAKER")
    parser.add_argument(
        "--encoder-weights", type=Path, help="Moonshine-tiny's encoder as released; default: the bundled one"
    )


def run(args: argparse.Namespace, progress: Progress) -> str:
    """All variants, as a table."""
    options = TrainOptions(
        steps=args.steps,
        seed=args.seed,
        hold_out=tuple(args.hold_out),
        encoder_weights=args.encoder_weights,
    )
    return table(speech_ablations(args.data, args.out, options, progress.stage("ablations")))
