"""The verb ``bench``: the time of each stage on this machine."""

from __future__ import annotations

import argparse

from ..dubbing.progress import Progress
from .options import Verbs, add_verb, load_models, options_of


def register(verbs: Verbs) -> None:
    """Add the verb."""
    add_verb(verbs, "bench", "time the stages on this machine", bench, computes=True)


def bench(args: argparse.Namespace, progress: Progress) -> str:
    """Stage timings, as ratios within one run."""
    from ..evaluation.speed.benchmark import format_benchmark, run_benchmark

    options = options_of(args)
    return format_benchmark(run_benchmark(load_models(args, options), options, progress))
