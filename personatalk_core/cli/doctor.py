"""What is installed, which weights were found and verified, what device there is, and what a dub will
cost."""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from .. import __version__
from ..config import DubOptions
from ..dubbing.progress import Progress
from ..errors import DependencyError, OptionsError, PersonaTalkError
from .options import Verbs, add_verb, options_of, parse_hub

if TYPE_CHECKING:
    from ..weights.hub import HubSource

PACKAGES = (
    "torch",
    "transformers",
    "mediapipe",
    "numpy",
    "einops",
    "safetensors",
    "opencv-python",
    "huggingface-hub",
    "scipy",
    "av",
)


def register(verbs: Verbs) -> None:
    """Add the verb."""
    verb = add_verb(
        verbs,
        "doctor",
        "show what is installed, which weights were found, device, expected time and memory",
        doctor,
        computes=True,
    )
    verb.add_argument("--json", action="store_true", help="machine-readable output")


def doctor(args: argparse.Namespace, progress: Progress) -> str | dict:
    """The state of the installation."""
    findings = examine(options_of(args), folder=args.weights, hub=parse_hub(args.hub), offline=args.offline)
    return findings if args.json else format_findings(findings)


def examine(
    options: DubOptions, *, folder: Path | None = None, hub: HubSource | None = None, offline: bool = False
) -> dict:
    """Look at everything a dub needs; never raises for what it finds, it says it.

    Returns:
        {"versions": {...}, "system": {...}, "weights": {name: {...}}, "device": {...}, "cost": {...},
        "problems": [sentence, ...]}
    """
    from ..models import PARTS
    from ..weights.resolver import resolve_weights

    problems: list[str] = []
    versions = {"personatalk": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
            problems.append(f"{package} is not installed; run: pip install -r requirements.txt.")
    weights = {}
    for name in PARTS:
        try:
            found = resolve_weights(name, folder=folder, hub=hub, offline=offline)
            weights[name] = {
                "origin": found.origin,
                "sha256": found.sha256,
                "path": str(found.path),
                "note": found.note,
            }
        except PersonaTalkError as error:
            weights[name] = {"origin": "missing", "note": str(error)}
            problems.append(str(error))
    findings = {
        "versions": versions,
        "system": _system(problems),
        "weights": weights,
        "device": {},
        "cost": {},
        "problems": problems,
    }
    if not problems:
        try:
            findings["device"], findings["cost"] = _cost(options, folder, hub, offline)
        except (OptionsError, DependencyError) as error:
            problems.append(str(error))
    return findings


def format_findings(findings: dict) -> str:
    """The findings as text, problems last."""
    lines = ["installed: " + ", ".join(f"{name} {value}" for name, value in findings["versions"].items())]
    lines.append("system:    " + ", ".join(f"{name} {value}" for name, value in findings["system"].items()))
    for name, entry in findings["weights"].items():
        state = (
            f"verified, {entry['origin']}, sha256 {entry['sha256'][:12]}" if "sha256" in entry else "MISSING"
        )
        lines.append(f"weights:   {name}: {state}" + (f" ({entry['note']})" if entry.get("note") else ""))
    lines.extend(
        f"{title + ':':<10} " + ", ".join(f"{name} {value}" for name, value in findings[title].items())
        for title in ("device", "cost")
        if findings[title]
    )
    lines += [f"problem:   {sentence}" for sentence in findings["problems"]] or [
        "all is ready: try `personatalk demo`"
    ]
    return "\n".join(lines)


def _system(problems: list[str]) -> dict:
    found = {"os": platform.platform(), "cores": os.cpu_count()}
    if sys.platform == "linux":
        for library in ("libEGL.so.1", "libGLESv2.so.2"):
            try:
                ctypes.CDLL(library)
            except OSError:
                problems.append(
                    f"mediapipe needs the system library {library}; install it (Debian, Ubuntu: sudo "
                    "apt-get install libegl1 libgles2)."
                )
    return found


def _cost(
    options: DubOptions, folder: Path | None, hub: HubSource | None, offline: bool
) -> tuple[dict, dict]:
    """Load the models and time a short synthetic render, so that the estimate is this machine's own."""
    import torch

    from ..evaluation.speed.benchmark import render_seconds_a_frame
    from ..models import load_models

    models = load_models(options, folder=folder, hub=hub, offline=offline)
    started = time.monotonic()
    seconds = render_seconds_a_frame(models, frames=8)
    device = {
        "device": str(models.device),
        "dtype": str(models.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }
    cost = {
        "rendering": f"{1 / seconds:.1f} frames/s at 256x256",
        "minute of 25 fps video": f"about {seconds * 25:.0f} minutes of rendering"
        if seconds * 25 >= 1.5
        else f"about {seconds * 1500:.0f} s of rendering",
        "checked in": f"{time.monotonic() - started:.1f} s",
    }
    if models.device.type == "cpu":
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        cost["memory"] = (
            f"about {peak / (1 << 20) if sys.platform == 'linux' else peak / (1 << 30):.1f} GiB so far, "
            "plus the frames in flight"
        )
    return device, cost
