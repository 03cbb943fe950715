"""The verb ``study``: one name for every study of the evaluation and the training, each with options of its
own."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from ..dubbing.progress import Progress
from ..errors import OptionsError
from ..evaluation.studies import STUDIES, Verdict
from .options import Verbs

SUMMARY = "answer a question about the networks on a folder of clips"


def register(verbs: Verbs) -> None:
    """Add the verb; a study is imported, and its own options read, once its name is known."""
    listed = "\n".join(f"  {name:<22}{summary}" for name, (_, summary) in sorted(STUDIES.items()))
    verb = verbs.add_parser(
        "study",
        help=SUMMARY,
        description=f"{SUMMARY[0].upper()}{SUMMARY[1:]}. 'personatalk study NAME --help' shows its options.",
        epilog=f"studies:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(run=study)
    verb.add_argument("--quiet", action="store_true", help="print nothing but errors")
    verb.add_argument("name", metavar="NAME", help="which study")
    verb.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="options of the study")


def study(args: argparse.Namespace, progress: Progress) -> str:
    """Run one study. Raises OptionsError for an unknown name; SystemExit(1) where a check did not pass."""
    name = args.name.replace("_", "-")
    if name not in STUDIES:
        raise OptionsError(f"there is no study '{args.name}'; expected one of {', '.join(sorted(STUDIES))}.")
    module = import_module(f"..{STUDIES[name][0]}", __package__)
    parser = argparse.ArgumentParser(
        prog=f"personatalk study {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    found = module.run(parser.parse_args(args.arguments), progress)
    if not isinstance(found, Verdict):
        return found
    if not found.passed:
        sys.stdout.write(found.text + "\n")
        raise SystemExit(1)
    return found.text
