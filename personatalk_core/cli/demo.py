"""The verb ``demo``: the sample clip with the sample line."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ..dubbing.progress import Progress
from .options import Verbs, add_verb, load_models, options_of


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "demo", "dub the sample clip with the sample line", demo, computes=True)
    verb.add_argument("--out-dir", type=Path, default=Path("out"))
    verb.add_argument(
        "--inputs",
        type=Path,
        metavar="DIR",
        help="only write what the example workflows name, into ComfyUI's input folder",
    )


def demo(args: argparse.Namespace, progress: Progress) -> str:
    """Dub the sample clip; the sound is a little longer than the picture, so it bounces."""
    from .. import pipeline
    from ..samples.demo import DEMO_SPEECH, write_sample_video, write_workflow_inputs

    if args.inputs:
        return "\n".join(str(path) for path in write_workflow_inputs(args.inputs))
    args.out_dir.mkdir(parents=True, exist_ok=True)
    source, out = args.out_dir / "demo_source.mp4", args.out_dir / "demo.mp4"
    write_sample_video(source)
    options = dataclasses.replace(options_of(args), length="bounce")
    report = pipeline.dub(source, DEMO_SPEECH, out, load_models(args, options), options, progress=progress)
    return f"{out}: {report.dubbed} of {report.frames} frames dubbed; the source is {source}"
