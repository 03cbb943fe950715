"""Loss curves of the speech stage as a picture."""

from __future__ import annotations

from pathlib import Path

from ...errors import DependencyError


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Losses on the left, scores on held-out speakers on the right, over steps. Raises DependencyError
    without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            "loss curves need matplotlib; install it with 'pip install matplotlib'."
        ) from error
    scores = ("opening_r", "width_r", "closed_recall", "opening_gain")
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [entry["step"] for entry in history]
    for name in sorted({k for entry in history for k in entry} - {"step", *scores}):
        left.plot(steps, [entry.get(name, float("nan")) for entry in history], label=name)
    for name in scores:
        right.plot(steps, [entry.get(name, float("nan")) for entry in history], label=name)
    left.set_yscale("log")
    left.set_title("losses (moving averages)")
    right.set_title("held-out speakers")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
