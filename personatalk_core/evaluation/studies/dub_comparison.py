"""A dubbed video's scores beside those of its own source, which say what a real recording reaches in the same
metrics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ... import pipeline
from ...config import DubOptions
from ...dubbing.progress import Progress
from ...dubbing.run import Run
from ...media.video_reader import probe
from ...models import Models
from ..metrics.table import METRICS
from ..metrics.video_scores import evaluate_video


def compare_with_source(
    output: Path,
    source: Path,
    audio: Path,
    models: Models,
    options: DubOptions,
    progress: Progress | None = None,
    *,
    most_frames: int | None = None,
) -> dict[str, dict]:
    """Score a dub and, where the source has sound of its own, the source speaking it.

    Args:
        output, source: the dubbed video and the one it was made from.
        audio:          the speech it was made with.
        options:        ``length`` and ``face`` as the output was made with.
        most_frames:    compare the pixels of this many frames at most; None: of all.
    Returns:
        {"dub": scores, "source": scores} as of evaluate_video; "source" is left out where the source is
        silent.
    Raises:
        MediaError, FaceError: see evaluate_video.
    """
    progress = progress or Progress()
    given = probe(source)
    truth = pipeline.estimate_geometry(given, Run(models, options, progress))
    shared = {"source_geometry": truth, "most_frames": most_frames}
    rows = {"dub": evaluate_video(output, source, audio, models, options, progress, **shared)}
    if given.has_audio:
        rows["source"] = evaluate_video(
            source, source, source, models, options, progress, output_geometry=truth, own_sound=True, **shared
        )
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
