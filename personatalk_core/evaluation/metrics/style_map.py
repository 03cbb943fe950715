"""Figure 5 of the paper: speaking styles in two dimensions by t-SNE, generated clips beside originals, as an
SVG."""

from __future__ import annotations

import html
from collections.abc import Sequence

import torch
from torch import Tensor

from ...checks import check_shape
from ...errors import DependencyError, ShapeError

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
    """Exact t-SNE (van der Maaten and Hinton 2008) by scikit-learn, for up to a few thousand points.

    Args:
        vectors:    (N, D), N >= 4.
        perplexity: effective number of neighbours; at most (N - 1) / 3 is used.
    Returns:
        (N, 2), centred; the same seed gives the same map.
    Raises:
        ShapeError: fewer than four points.  DependencyError: scikit-learn is missing.
    """
    count = check_shape("vectors", vectors, "N", "D")["N"]
    if count < 4:
        raise ShapeError(f"a map of styles needs at least 4 points but got {count}.")
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise DependencyError(
            "the map of styles needs scikit-learn; install it with 'pip install scikit-learn'."
        ) from error
    embedding = TSNE(perplexity=min(perplexity, (count - 1) / 3), method="exact", random_state=seed)
    places = torch.from_numpy(embedding.fit_transform(vectors.double().numpy())).float()
    return places - places.mean(0)


def draw_style_map(places: Tensor, speakers: Sequence[str], generated: Sequence[bool]) -> str:
    """An SVG of points (N, 2): a colour a speaker, dots for originals, crosses for what was generated."""
    count = check_shape("places", places, "N", 2)["N"]
    if len(speakers) != count or len(generated) != count:
        raise ShapeError(
            f"{count} places came with {len(speakers)} speakers and {len(generated)} marks; expected one "
            "of each a place."
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
