"""The verb ``dub``: the whole method."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..dubbing.progress import Progress
from .options import Verbs, add_options, add_verb, load_models
from .video_output import add_video_output, format_report, output_options_of, video_target


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "dub", "make a video speak new words", dub, computes=True)
    verb.add_argument(
        "--video",
        type=Path,
        required=True,
        help="one talking person: a video, a folder of pictures, DIR/name_%%05d.png@RATE",
    )
    verb.add_argument(
        "--audio", type=Path, required=True, help="sound file, or a video with sound, of the new speech"
    )
    verb.add_argument(
        "--out", type=Path, required=True, help="output .mp4, .mov or .mkv, or pictures: DIR/name_%%05d.png"
    )
    verb.add_argument(
        "--style", type=Path, help="style file made by 'personatalk style'; default: the video's own style"
    )
    add_options(verb, "style_strength", "length", "face", "initializer")
    add_video_output(verb)


def dub(args: argparse.Namespace, progress: Progress) -> str:
    """The whole method."""
    from .. import pipeline
    from ..dubbing.run import OutputFiles
    from ..speech.style_file import load_style

    options = output_options_of(args)
    models = load_models(args, options)
    style = load_style(args.style, models.face_model, models.speech) if args.style else None
    inputs = [path for path in (args.audio, args.style) if path]
    with video_target(args, inputs, progress) as out:
        files = OutputFiles(out, args.mask_out)
        report = pipeline.dub(args.video, args.audio, files, models, options, style=style, progress=progress)
    return format_report(report, args, progress)
