"""The last stages of ``train speech`` on networks that exist: hear through noise, keep to the style. What
made the bundled weights last.

python -m personatalk_core.training.speech.refinement --data TRAIN --networks DIR --out DIR [--hold-out
SPEAKER ...]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...geometry.face_model import FaceModel, load_face_model
from ...speech.networks import load_speech_networks, save_speech_networks
from ...types import OnProgress
from ..data.preparation import prepare_folder
from .clips import hold_out_speakers
from .recipe import read_recipe
from .train import finish, planned_lags, speech_clips, write_plan


def refine_speech(
    data: Path,
    networks: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    seed: int = 0,
    recipe: Path | None = None,
    hold_out: Sequence[str] = (),
    face_model: FaceModel | None = None,
) -> Path:
    """Refine and save; resumable as ``train_speech`` is.

    Args:
        networks: folder with lip_sync.safetensors and audio_encoder.safetensors; they are not changed.
        data, out, seed, recipe, hold_out: as of ``train_speech``; an ``out`` that holds its cache and plan is
            used as it is.
    Returns:
        ``out``/lip_sync.safetensors; audio_encoder.safetensors lies beside it.
    Raises:
        WeightsError: ``networks`` does not hold a pair of this face model.
    """
    out, networks, face_model = Path(out), Path(networks), face_model or load_face_model()
    start = load_speech_networks(
        networks / "lip_sync.safetensors", networks / "audio_encoder.safetensors", face_model
    )
    options = replace(read_recipe(recipe), seed=seed)
    options = replace(options, hold_out=tuple(hold_out)) if hold_out else options
    prepared, left_out = prepare_folder(data, out / "cache", face_model, on_progress)
    clips = speech_clips(prepared, face_model, start.audio_encoder, planned_lags(out))
    training, validation = hold_out_speakers(clips, options.held_out_share, seed, options.hold_out)
    write_plan(out, training, validation, left_out)
    best = finish(start, face_model, training, validation, options, out, on_progress=on_progress)
    save_speech_networks(
        best.audio_encoder, best.lip_sync, out / "lip_sync.safetensors", out / "audio_encoder.safetensors"
    )
    return out / "lip_sync.safetensors"


def main(arguments: Sequence[str] | None = None) -> int:
    """Refine, and print where the weights are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    chosen = parser.parse_args(arguments)
    choices = {"seed": chosen.seed, "recipe": chosen.recipe, "hold_out": chosen.hold_out}
    sys.stdout.write(f"{refine_speech(chosen.data, chosen.networks, chosen.out, **choices)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
