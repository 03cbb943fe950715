"""The verbs that train: ``prepare`` a folder of videos, ``train`` a part of the method from it.

The only module outside the training that imports it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..dubbing.progress import Progress
from ..errors import OptionsError
from .options import Verbs, add_options, add_verb

# What ``train`` takes beyond --data, --out, --steps and --seed, and the parts that take it
PARTS_OF_OPTION = {
    "accelerate": ("speech", "renderer"),
    "encoder": ("speech",),
    "encoder_weights": ("speech",),
    "hold_out": ("speech", "renderer"),
    "recipe": ("speech", "renderer"),
}


def register(verbs: Verbs) -> None:
    """Add the verbs."""
    verb = add_verb(
        verbs,
        "prepare",
        "raw videos to a folder to train from: 25 fps, 16 kHz, 256-pixel crops, checked",
        prepare,
    )
    verb.add_argument(
        "--data", type=Path, required=True, help="folder of videos; an INDEX.tsv may name speakers and lags"
    )
    verb.add_argument(
        "--out", type=Path, required=True, help="folder for clips and manifest.json; resumed when it exists"
    )
    verb.add_argument(
        "--with-silent",
        action="store_true",
        help="keep clips without usable speech, for the renderer and the face model",
    )
    verb.add_argument(
        "--held-out", type=float, default=0.15, metavar="SHARE", help="of the speakers, kept for validation"
    )

    verb = add_verb(verbs, "train", "train a part from a folder of videos", train)
    verb.add_argument("part", choices=("face-model", "speech", "renderer"))
    verb.add_argument("--data", type=Path, required=True, help="folder of videos")
    verb.add_argument(
        "--out", type=Path, required=True, help="folder for checkpoints, curves and the final weights"
    )
    verb.add_argument("--steps", type=int, help="training steps; default: the part's own recipe")
    add_options(verb, "seed")
    verb.add_argument(
        "--encoder", choices=("moonshine", "hubert"), help="speech: what hears (default: moonshine)"
    )
    verb.add_argument(
        "--encoder-weights", metavar="FILE|DIR|OWNER/NAME", help="speech: pretrained weights to start from"
    )
    verb.add_argument(
        "--hold-out",
        nargs="+",
        metavar="SPEAKER",
        help="speech, renderer: who is never trained on; default: some, drawn",
    )
    verb.add_argument(
        "--accelerate",
        action="store_true",
        help="speech, renderer: one of the processes that 'accelerate launch' started",
    )
    verb.add_argument(
        "--recipe",
        type=Path,
        help="speech, renderer: JSON of options; default: the recipe of the bundled weights",
    )


def prepare(args: argparse.Namespace, progress: Progress) -> str:
    """Raw videos to a folder to train from."""
    from ..training.data.prepared_folder import describe, prepare_data

    if not args.data.is_dir():
        raise OptionsError(f"{args.data} is not a folder; pass a folder of videos with --data.")
    if not 0 <= args.held_out < 1:
        raise OptionsError(f"the held out share is {args.held_out} but expected 0 or more and less than 1.")
    on_progress = progress.stage("prepare")
    return describe(
        prepare_data(args.data, args.out, on_progress, with_silent=args.with_silent, held_out=args.held_out)
    )


def train(args: argparse.Namespace, progress: Progress) -> str:
    """Training of one part."""
    if not args.data.is_dir():
        raise OptionsError(f"training data {args.data} is not a folder; pass a folder of videos with --data.")
    given: dict[str, Any] = {
        name: vars(args)[name] for name in ("steps", *PARTS_OF_OPTION) if vars(args)[name]
    }
    for name, parts in PARTS_OF_OPTION.items():
        if name in given and args.part not in parts:
            option = name.replace("_", "-")
            raise OptionsError(
                f"--{option} belongs to 'train speech' but the part is '{args.part}'; leave it out."
            )
    from ..training.recipe import TrainOptions

    given["hold_out"] = tuple(given.get("hold_out", ()))
    options = TrainOptions(seed=args.seed, **given)
    run = _training_of(args.part)
    return str(run(args.data, args.out, options, progress.stage(f"train {args.part}")))


def _training_of(part: str) -> Callable[..., object]:
    """The function that trains the part."""
    if part == "face-model":
        from ..training.face_model.train import train_face_model

        return train_face_model
    if part == "speech":
        from ..training.speech.train import train_speech

        return train_speech
    from ..training.renderer.train import train_renderer

    return train_renderer
