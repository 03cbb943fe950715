"""A stored quality table with tolerances: whoever changes a weight or a line sees what it cost (``make
quality``)."""

from __future__ import annotations

import json
from pathlib import Path

from ...errors import MediaError
from ..metrics.table import METRICS, worse_by

SHARE = 0.03  # of a value that it may get worse by, where nothing else is stated
LEAST = {
    "sync_lag": 1.0,
    "leak": 0.1,
    "silence_score": 0.3,
    "psnr": 0.3,
    "psnr_face": 0.3,
    "psnr_lips": 0.3,
    "psnr_outside": 1.0,
}
LEAST_OTHER = 0.01  # in the metric's own unit


def make_baseline(result: dict) -> dict:
    """What to hold later results against: {row: {metric: {"mean", "tolerance"}}} of a result of
    ``benchmark_quality``."""
    rows = {}
    for name, row in result["rows"].items():
        rows[name] = {
            metric: {
                "mean": entry["mean"],
                "tolerance": max(SHARE * abs(entry["mean"]), LEAST.get(metric, LEAST_OTHER)),
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
            f"{baseline.get('frames') or 'all'} frames but this result on "
            f"{len(result['clips'])} of {result.get('frames') or 'all'}; compare the same clips and "
            "frames, or store a new baseline."
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
        for baseline in stored.values():
            baseline["rows"], baseline["clips"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MediaError(
            f"{path} holds no quality baselines ({type(error).__name__}); write them with --store."
        ) from error
    return stored
