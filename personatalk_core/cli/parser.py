"""The ``personatalk`` command: one verb a stage, and ``dub`` for all of them.

Only this module reads arguments, prints, and turns errors into exit codes: 0 done, 2 the input, options or
environment are at fault (one sentence on stderr, nothing written), 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from .. import __version__
from ..dubbing.progress import ProgressBars
from ..errors import PersonaTalkError
from . import batch, bench, demo, doctor, dub, evaluation, geometry, publish, stages, study, training

# Each registers its verbs, with their options and what they do, in the order in which --help lists them
VERB_MODULES = (dub, geometry, stages, evaluation, doctor, batch, publish, training, demo, bench, study)


def build_parser() -> argparse.ArgumentParser:
    """Every verb and option of the command line."""
    parser = argparse.ArgumentParser(
        prog="personatalk", description="Dub a talking person's video and keep the persona."
    )
    parser.add_argument("--version", action="version", version=f"personatalk {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for module in VERB_MODULES:
        module.register(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code."""
    args = build_parser().parse_args(arguments)
    bars = ProgressBars(quiet=args.quiet)
    try:
        with bars:
            result = args.run(args, bars)
    except PersonaTalkError as error:
        print(f"personatalk: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # the disk, a name, a permission: writing is complete or not at all
        where = f" ({error.filename})" if error.filename else ""
        print(
            f"personatalk: {error.strerror or error}{where}; check names, permissions and the free space "
            "on the disk.",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        print(
            "personatalk: interrupted; no half file was left, the same command goes on from what was "
            "finished",
            file=sys.stderr,
        )
        return 130
    if result is not None and not args.quiet:
        text = result if isinstance(result, str) else json.dumps(result, indent=2)
        print(text.encode("utf-8", "backslashreplace").decode())  # names of files need not be UTF-8
    return 0
