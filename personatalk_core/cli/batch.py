"""The verb ``batch``: every job of a manifest."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..dubbing.progress import Progress
from ..errors import BatchError
from .options import Verbs, add_signing, add_verb, options_of, parse_hub, signing_of


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(
        verbs, "batch", "dub every line of a manifest, on Ray where it is installed", batch, computes=True
    )
    verb.add_argument(
        "--manifest", type=Path, required=True, help="JSON Lines; fields in personatalk_core/batch/README.md"
    )
    verb.add_argument(
        "--out",
        type=Path,
        required=True,
        help="folder for outputs, reports and results.jsonl; resumed when it exists",
    )
    verb.add_argument(
        "--runner",
        choices=("auto", "ray", "one-by-one"),
        default="auto",
        help="auto: Ray where it is installed",
    )
    verb.add_argument(
        "--address", metavar="HOST:PORT", help="a running Ray cluster; default: Ray on this machine"
    )
    verb.add_argument("--workers", type=int, metavar="N", help="processes at most; default: as many as fit")
    verb.add_argument("--cpus-per-worker", type=float, default=2.0, metavar="N", help="default 2")
    verb.add_argument(
        "--gpus-per-worker",
        type=float,
        metavar="F",
        help="default 1 where there are GPUs; 0.5 lets two share one",
    )
    add_signing(verb)
    verb.add_argument(
        "--retries", type=int, default=0, metavar="N", help="run a failed job up to N more times"
    )


def batch(args: argparse.Namespace, progress: Progress) -> str:
    """Every job of a manifest. Raises BatchError, after all have run, where some failed."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    from ..batch.job import WeightsChoice
    from ..batch.ray_runner import RayOptions
    from ..batch.run_batch import BatchOptions, run_batch

    ray = RayOptions(args.address, args.workers, args.cpus_per_worker, args.gpus_per_worker)
    summary = run_batch(
        args.manifest,
        args.out,
        options_of(args),
        BatchOptions(args.runner, ray, args.retries, args.quiet),
        weights=WeightsChoice(args.weights, parse_hub(args.hub), args.offline),
        signing=signing_of(args),
    )
    if summary.failed:
        raise BatchError(str(summary))
    return str(summary)
