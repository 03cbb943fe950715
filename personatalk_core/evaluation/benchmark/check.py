"""``make quality``: a quick protocol against stored numbers, so that whoever changes a weight or a line sees
what it cost.

Protocol, a few minutes on two cores: the two AI-made clips that install with the project, given the demo's
spoken line, their first 30 frames, rows ``reconstruction`` and ``cross_audio``; and, where ``--corpus`` names
a folder of talking people, the first 40 frames of three of its test clips, rows
``reconstruction``, ``self_dub`` and ``cross_audio``.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...config import DubOptions
from ...dubbing.progress import Progress
from ...dubbing.run import Run
from ...errors import MediaError
from ...media.audio_stream import read_audio
from ...media.video_writer import VideoWriter
from ...models import load_models
from ...samples.demo import DEMO_SPEECH, SAMPLE_RATE, SAMPLES, sample_frames
from ...types import Timeline
from ...weights.checkpoint import write_atomically
from ..metrics.table import METRICS, worse_by
from ..studies import Verdict
from .run import BenchmarkOptions, benchmark_quality

BASELINE = Path(__file__).with_name("baseline.json")
TOLERATED_SHARE = 0.03  # of a value that it may get worse by, where nothing else is stated
LEAST_TOLERANCES = {
    "sync_lag": 1.0,
    "leak": 0.1,
    "silence_score": 0.3,
    "psnr": 0.3,
    "psnr_face": 0.3,
    "psnr_lips": 0.3,
    "psnr_outside": 1.0,
}
LEAST_TOLERANCE = 0.01  # in the metric's own unit


@dataclass(frozen=True)
class QuickProtocol:
    """rows, frames and clips (beginnings of names, None: all) of one part of the check."""

    rows: tuple[str, ...]
    frames: int
    clips: tuple[str, ...] | None = None


PROTOCOLS = {
    "sample": QuickProtocol(("reconstruction", "cross_audio"), 30),
    "corpus": QuickProtocol(("reconstruction", "self_dub", "cross_audio"), 40, ("grid_x3", "may", "vr5")),
}


def check_quality(
    out: Path,
    run: Run,
    baseline: Path = BASELINE,
    corpus: Path | None = None,
    *,
    store: bool = False,
) -> tuple[list[str], list[str]]:
    """Run the quick protocol in ``out`` and hold it against the baseline, or store it as the new one.

    Returns:
        what was compared or left out, and one sentence for every regression.
    Raises:
        MediaError: there is no baseline, or it is of other clips.
    """
    out, notes, worse = Path(out), [], []
    results = {"sample": _run_protocol("sample", _write_samples(out / "clips"), out / "sample", run)}
    if corpus is not None and corpus.is_dir():
        results["corpus"] = _run_protocol("corpus", corpus, out / "corpus", run)
    else:
        missing = "none was named" if corpus is None else f"not at {corpus}"
        notes.append(f"corpus: {missing}, left out; the samples were checked.")
    if store:
        stored = load_baselines(baseline) if baseline.is_file() else {}
        stored |= {name: make_baseline(result) for name, result in results.items()}
        write_atomically(baseline, (json.dumps(stored, indent=1) + "\n").encode())
        return [*notes, f"stored {', '.join(results)} in {baseline}."], []
    stored = load_baselines(baseline)
    for name, result in results.items():
        if name not in stored:
            notes.append(f"{name}: no stored numbers in {baseline}; store them with --store.")
            continue
        found = regressions(result, stored[name])
        worse += [f"{name}: {sentence}" for sentence in found]
        count = sum(len(row) for row in stored[name]["rows"].values())
        notes.append(
            f"{name}: {count} numbers of {len(result['clips'])} clips compared, {len(found)} got worse."
        )
    return notes, worse


def make_baseline(result: dict) -> dict:
    """What to hold later results against: {row: {metric: {"mean", "tolerance"}}} of a result of
    ``benchmark_quality``."""
    rows = {}
    for name, row in result["rows"].items():
        rows[name] = {
            metric: {
                "mean": entry["mean"],
                "tolerance": max(
                    TOLERATED_SHARE * abs(entry["mean"]), LEAST_TOLERANCES.get(metric, LEAST_TOLERANCE)
                ),
            }
            for metric, entry in row["mean"].items()
        }
    return {"clips": result["clips"], "frames": result.get("frames"), "rows": rows}


def regressions(result: dict, baseline: dict) -> list[str]:
    """One sentence for every mean that got worse by more than its tolerance.

    Raises:
        MediaError: the two were not measured on the same clips and frames.
    """
    if result["clips"] != baseline["clips"] or result.get("frames") != baseline.get("frames"):
        raise MediaError(
            f"the baseline was measured on {len(baseline['clips'])} clips of "
            f"{baseline.get('frames') or 'all'} frames but this result on {len(result['clips'])} of "
            f"{result.get('frames') or 'all'}; compare the same clips and frames, or store a new baseline."
        )
    found = []
    for row, metrics in baseline["rows"].items():
        for metric, stored in metrics.items():
            if metric not in METRICS or row not in result["rows"]:
                continue
            entry = result["rows"][row]["mean"].get(metric)
            title = f"{result['rows'][row]['title']}: {METRICS[metric].title}"
            if entry is None:
                found.append(f"{title} is missing; it was {stored['mean']:.4g}.")
            elif worse_by(metric, entry["mean"], stored["mean"]) > stored["tolerance"]:
                found.append(
                    f"{title} is {entry['mean']:.4g}; it was {stored['mean']:.4g} and may get worse by "
                    f"{stored['tolerance']:.2g}."
                )
    return found


def load_baselines(path: Path) -> dict[str, dict]:
    """Baselines by name, as ``make quality`` stores them. Raises MediaError when the file cannot be read."""
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        if any(not {"rows", "clips"} <= baseline.keys() for baseline in stored.values()):
            raise KeyError("rows, clips")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MediaError(
            f"{path} holds no quality baselines ({type(error).__name__}); write them with --store."
        ) from error
    return stored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out/quality"),
        help="folder for clips, dubs and tables; emptied of old scores",
    )
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="stored numbers, JSON")
    parser.add_argument(
        "--corpus", type=Path, metavar="DIR", help="talking clips; left out where it is absent"
    )
    parser.add_argument(
        "--store", action="store_true", help="store these numbers as the baseline instead of comparing"
    )


def run(args: argparse.Namespace, progress: Progress) -> Verdict:
    """What was compared, and what got worse, which fails the check."""
    models = load_models(DubOptions())
    shared = Run(models, progress=progress)
    notes, worse = check_quality(args.out, shared, args.baseline, args.corpus, store=args.store)
    return Verdict("\n".join([*notes, *worse]), passed=not worse)


def _run_protocol(name: str, folder: Path, out: Path, run: Run) -> dict:
    protocol = PROTOCOLS[name]
    for cached in [*out.glob("*/*.json"), *out.glob("geometry/*")]:
        cached.unlink()  # code may have changed, which an earlier run does not know
    options = BenchmarkOptions(protocol.rows, frames=protocol.frames, clips=protocol.clips)
    return benchmark_quality(folder, out, run, options)


def _write_samples(folder: Path) -> Path:
    """The installed clips with the demo's spoken line as their sound."""
    sound = read_audio(DEMO_SPEECH)
    for name in SAMPLES:
        target = folder / f"{name}.mp4"
        if target.is_file():
            continue
        frames = sample_frames(name)
        order = np.arange(len(frames))
        timeline = Timeline(order, order / float(SAMPLE_RATE), np.full(len(frames), 1 / float(SAMPLE_RATE)))
        with VideoWriter(target, frames.shape[2], frames.shape[1], timeline, audio=sound) as video:
            for frame in frames:
                video.write(frame)
    return folder
