"""The verb ``publish``: weights and model card to the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..dubbing.progress import Progress
from .options import Verbs, add_verb


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(verbs, "publish", "upload weights and model card to the Hub", publish)
    verb.add_argument("--repo", required=True, metavar="OWNER/NAME")
    verb.add_argument("--folder", type=Path, help="weights to upload; default: the bundled ones")
    verb.add_argument("--public", action="store_true", help="make a new repository public (default: private)")


def publish(args: argparse.Namespace, progress: Progress) -> str:
    """Weights and model card to the Hub."""
    from ..weights.publish import publish_weights

    done = publish_weights(
        args.repo, folder=args.folder, private=not args.public, on_progress=progress.stage("publish")
    )
    return f"published {done}"
