"""The last stages of ``train speech`` on networks that exist: hear through noise, keep to the style. What
made the bundled weights last.

personatalk study speech-refinement --data TRAIN --networks DIR --out DIR [--hold-out SPEAKER ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ...dubbing.progress import Progress
from ...geometry.face_model import FaceModel, load_face_model
from ...speech.networks import load_speech_networks
from ...types import OnProgress
from ..data.preparation import prepare_folder
from ..recipe import TRAIN_DEFAULTS, TrainOptions
from .train import finish, planned_lags, save_networks, speech_clips, speech_recipe, split_speech, write_plan


def refine_speech(
    data: Path,
    networks: Path,
    out: Path,
    options: TrainOptions = TRAIN_DEFAULTS,
    on_progress: OnProgress | None = None,
    *,
    face_model: FaceModel | None = None,
) -> Path:
    """Refine and save; resumable as ``train_speech`` is.

    Args:
        networks: folder with lip_sync.safetensors and audio_encoder.safetensors; they are not changed.
        data, out, options: as of ``train_speech``; an ``out`` that holds its cache and plan is used as it is.
    Returns:
        ``out``/lip_sync.safetensors; audio_encoder.safetensors lies beside it.
    Raises:
        WeightsError: ``networks`` does not hold a pair of this face model.
    """
    out, networks, face_model = Path(out), Path(networks), face_model or load_face_model()
    start = load_speech_networks(
        networks / "lip_sync.safetensors", networks / "audio_encoder.safetensors", face_model
    )
    recipe = speech_recipe(options)
    prepared, left_out = prepare_folder(data, out / "cache", face_model, on_progress)
    clips = speech_clips(prepared, face_model, start.audio_encoder, planned_lags(out))
    split = split_speech(data, clips, recipe)
    write_plan(out, split, left_out)
    save_networks(finish(start, face_model, split, recipe, out, on_progress=on_progress), out)
    return out / "lip_sync.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``personatalk study speech-refinement``."""
    parser.add_argument("--data", type=Path, required=True, help="folder of training videos")
    parser.add_argument(
        "--networks",
        type=Path,
        required=True,
        help="folder with lip_sync.safetensors and audio_encoder.safetensors",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for the cache, the state and the two new files"
    )
    parser.add_argument(
        "--recipe", type=Path, help="JSON of options; default: the recipe of the bundled weights"
    )
    parser.add_argument(
        "--hold-out", nargs="+", default=[], metavar="SPEAKER", help="who chooses and is never trained on"
    )
    parser.add_argument("--seed", type=int, default=0)


def run(args: argparse.Namespace, progress: Progress) -> str:
    """Refine, and say where the weights are."""
    options = TrainOptions(seed=args.seed, recipe=args.recipe, hold_out=tuple(args.hold_out))
    return str(refine_speech(args.data, args.networks, args.out, options, progress.stage("refine")))
