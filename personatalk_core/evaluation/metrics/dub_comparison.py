"""A dubbed video's scores beside those of its own source, which say what a real recording reaches in the same
metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ... import pipeline
from ...dubbing.run import Run
from ...media.video_reader import probe
from .table import METRICS
from .video_scores import ComparisonOptions, evaluate_video


def compare_with_source(
    output: Path, source: Path, audio: Path, run: Run, *, most_frames: int | None = None
) -> dict[str, dict]:
    """Score a dub and, where the source has sound of its own, the source speaking it.

    Args:
        output, source: the dubbed video and the one it was made from.
        audio:          the speech it was made with.
        run:            models; ``length`` and ``face`` as the output was made with.
        most_frames:    compare the pixels of this many frames at most; None: of all.
    Returns:
        {"dub": scores, "source": scores} as of evaluate_video; "source" is left out where the source is
        silent.
    Raises:
        MediaError, FaceError: see evaluate_video.
    """
    source_video = probe(source)
    geometry = pipeline.estimate_geometry(source_video, run)
    options = ComparisonOptions(source_geometry=geometry, most_frames=most_frames)
    rows = {"dub": evaluate_video(output, source, audio, run, options=options)}
    if source_video.has_audio:
        options = replace(options, output_geometry=geometry, own_sound=True)
        rows["source"] = evaluate_video(source, source, source, run, options=options)
    return rows


def score_table(rows: Mapping[str, Mapping]) -> str:
    """Markdown: one line a metric, one column a video, and what the metric means."""
    names = [name for name in METRICS if any(name in row["metrics"] for row in rows.values())]
    lines = [
        "| | " + " | ".join(rows) + " | better | what it says |",
        "|---|" + "---:|" * len(rows) + "---|---|",
    ]
    for name in names:
        cells = [f"{row['metrics'][name]:.3f}" if name in row["metrics"] else "" for row in rows.values()]
        metric = METRICS[name]
        unit = f" ({metric.unit})" if metric.unit else ""
        lines.append(
            f"| {metric.title}{unit} | " + " | ".join(cells) + f" | {metric.better} | {metric.meaning} |"
        )
    return "\n".join(lines) + "\n"
