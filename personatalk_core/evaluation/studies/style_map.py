"""Figure 5 of the paper: speaking styles in two dimensions by t-SNE, generated clips beside originals, as an
SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ...checks import check_shape
from ...errors import ShapeError
from ..metrics.style_similarity import StyleMetric, motion_windows

STEPS, EARLY, MOMENTUM = 500, 100, 0.8
SIZE = 640  # pixels of the picture's side
COLOURS = (
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)


def tsne(vectors: Tensor, perplexity: float = 12.0, seed: int = 0) -> Tensor:
    """Exact t-SNE (van der Maaten and Hinton 2008) for up to a few thousand points.

    Args:
        vectors:    (N, D), N >= 4.
        perplexity: effective number of neighbours; at most (N - 1) / 3 is used.
    Returns:
        (N, 2), centred; the same seed gives the same map.
    Raises:
        ShapeError: fewer than four points.
    """
    count = check_shape("vectors", vectors, "N", "D")["N"]
    if count < 4:
        raise ShapeError(f"a map of styles needs at least 4 points but got {count}.")
    near = _neighbourhoods(
        torch.cdist(vectors.double(), vectors.double()).square().numpy(), min(perplexity, (count - 1) / 3)
    )
    near = np.maximum((near + near.T) / (2 * count), 1e-12)
    places = 1e-2 * np.random.default_rng(seed).standard_normal((count, 2))
    move, gain, rate = np.zeros_like(places), np.ones_like(places), max(count / 12.0, 10.0)
    for step in range(STEPS):
        offset = places[:, None] - places[None]
        kernel = 1.0 / (1.0 + np.square(offset).sum(-1))
        np.fill_diagonal(kernel, 0.0)
        pull = (near * (12.0 if step < EARLY else 1.0) - kernel / kernel.sum()) * kernel
        slope = 4.0 * (pull[..., None] * offset).sum(1)
        gain = np.maximum(np.where(np.sign(slope) != np.sign(move), gain + 0.2, gain * 0.8), 0.01)
        move = (0.5 if step < EARLY else MOMENTUM) * move - rate * gain * slope
        places = places + move
        places -= places.mean(0)
    return torch.from_numpy(places).float()


def window_styles(expression: Tensor, usable: Tensor, metric: StyleMetric) -> Tensor:
    """Every two-second window of a clip as a point: (T, E_low) at 25 fps and (T,) bool to (N, output)."""
    windows = motion_windows(expression, usable)
    with torch.inference_mode():
        return metric(torch.stack(windows)) if windows else torch.zeros(0, metric.config.output)


def draw_style_map(places: Tensor, speakers: Sequence[str], generated: Sequence[bool]) -> str:
    """An SVG of points (N, 2): a colour a speaker, dots for originals, crosses for what was generated."""
    count = check_shape("places", places, "N", 2)["N"]
    if len(speakers) != count or len(generated) != count:
        raise ShapeError(
            f"{count} places came with {len(speakers)} speakers and {len(generated)} marks; expected "
            "one of each a place."
        )
    low, high = places.amin(0), places.amax(0)
    where = 30 + (places - low) / (high - low).clamp_min(1e-9) * (SIZE - 60)
    names = sorted(set(speakers))
    colours = {name: COLOURS[k % len(COLOURS)] for k, name in enumerate(names)}
    marks = []
    for (x, y), speaker, made in zip(where.tolist(), speakers, generated, strict=True):
        colour = colours[speaker]
        cross = f"<path d='M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8' stroke='{colour}' stroke-width='2'/>"
        marks.append(
            cross if made else f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{colour}' fill-opacity='0.7'/>"
        )
    legend = [
        f"<text x='{SIZE + 10}' y='{24 + 18 * k}' fill='{colours[name]}'>{html.escape(name)}</text>"
        for k, name in enumerate(names)
    ]
    legend.append(f"<text x='{SIZE + 10}' y='{36 + 18 * len(names)}'>dot: original, cross: generated</text>")
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{SIZE + 240}' height='{SIZE}' "
        "font-family='sans-serif' font-size='13'>"
    )
    return (
        head
        + f"<rect width='{SIZE + 240}' height='{SIZE}' fill='white'/>"
        + "".join(marks + legend)
        + "</svg>"
    )


def _neighbourhoods(squared: np.ndarray, perplexity: float) -> np.ndarray:
    """(N, N) conditional probabilities whose every row has the wanted perplexity, by bisection."""
    count = len(squared)
    rows = np.zeros_like(squared)
    for k in range(count):
        others = np.delete(squared[k], k)
        others = others - others.min()
        low, high, sharp = 0.0, np.inf, 1.0
        for _ in range(60):
            weight = np.exp(-others * sharp)
            weight /= weight.sum()
            entropy = -(weight * np.log(np.maximum(weight, 1e-300))).sum()
            if entropy > np.log(perplexity):
                low, sharp = sharp, sharp * 2 if np.isinf(high) else (sharp + high) / 2
            else:
                high, sharp = sharp, (low + sharp) / 2
        rows[k, np.arange(count) != k] = weight
    return rows
