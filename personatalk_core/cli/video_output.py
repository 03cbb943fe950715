"""Verbs that write a video: their options, the place they write to, and what they say when it is done."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import DubOptions
from ..dubbing.progress import Progress
from ..errors import OptionsError
from .options import add_options, add_signing, options_of, signing_of

if TYPE_CHECKING:
    from ..types import DubReport


def add_video_output(verb: argparse.ArgumentParser) -> None:
    """Every option that says how a rendered video is made and written."""
    add_options(verb, "lip_references", "face_references")
    verb.add_argument("--report", type=Path, help="what happened to each frame, as JSON")
    verb.add_argument("--mask-out", type=Path, help="also write the mask of changed pixels as a video")
    add_options(verb, "lossless", "provenance")
    add_signing(verb)


def output_options_of(args: argparse.Namespace) -> DubOptions:
    """Options of a verb that writes a video or pictures; refuses an output that cannot work."""
    from ..dubbing.run import OutputFiles
    from ..media.image_sequence import is_picture_output

    options = options_of(args)
    if is_picture_output(args.out):
        return dataclasses.replace(options, lossless=True)
    OutputFiles.of(args.out).verify()
    return options


@contextmanager
def video_target(args: argparse.Namespace, inputs: list[Path], progress: Progress) -> Iterator[Path]:
    """Where to write what is to appear as ``args.out``: pictures, a signed file, or the file itself."""
    from ..media.array_files import written_as_sequence
    from ..media.content_credentials import signed_output
    from ..media.image_sequence import is_picture_output

    signer = signing_of(args).signer()
    if not is_picture_output(args.out):
        with signed_output(args.out, signer, source=args.video, others=inputs) as out:
            yield out
        return
    if signer is not None:
        raise OptionsError(
            "pictures cannot be signed; write an .mp4 or .mov file, or leave out --sign-certificate."
        )
    with written_as_sequence(args.out, progress.stage("pictures")) as out:
        yield out


def format_report(report: DubReport, args: argparse.Namespace, progress: Progress) -> str:
    """What a verb prints of its dub; writes ``args.report`` where it is given."""
    from ..weights.checkpoint import write_atomically

    report.seconds = {name: round(seconds, 3) for name, seconds in progress.seconds.items()}
    if args.report:
        write_atomically(
            Path(args.report), (json.dumps(dataclasses.asdict(report), indent=2) + "\n").encode()
        )
    passed = ", ".join(f"{count} {name}" for name, count in report.passed_through.items())
    lines = [
        f"{args.out}: {report.dubbed} of {report.frames} frames dubbed"
        + (f", passed through: {passed}" if passed else "")
    ]
    if report.resumed:
        lines.append(f"{report.resumed} of the frames were finished by an earlier run that was interrupted")
    return "\n".join(lines + [f"warning: {text}" for text in report.warnings])
