"""Speaking styles on a plane: those that lie near each other speak alike."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from ..errors import ShapeError
from ..speech.style import check_same_maker
from ..types import StyleEmbedding

MARGIN = 0.14  # share of the map kept free at its border
CARD = 72  # pixels a side of a style's thumbnail
FONT = cv2.FONT_HERSHEY_SIMPLEX
BACKGROUND, INK, LINE = (24, 26, 32), (236, 238, 242), (70, 76, 88)


def style_positions(styles: Sequence[StyleEmbedding]) -> np.ndarray:
    """The styles along the two directions in which they differ most (principal components).

    Args:
        styles: N styles made by the same networks, at least one.
    Returns:
        (N, 2) float32, centred; distances are in the unit of the style vectors. The sign is fixed so that a
        map does not flip from run to run: on each axis the style farthest from the middle lies on the
        positive side.
    Raises:
        ShapeError: no style.
        FaceModelMismatchError: styles of different networks.
    """
    if not styles:
        raise ShapeError("0 styles came but a map needs at least one.")
    check_same_maker(styles)
    vectors = torch.stack([style.vector.double() for style in styles])  # (N, D)
    left, singular, _ = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    positions = torch.zeros(len(styles), 2, dtype=torch.float64)
    count = min(2, singular.shape[0])
    positions[:, :count] = left[:, :count] * singular[:count]
    farthest = positions.abs().argmax(dim=0)
    signs = positions[farthest, torch.arange(2)].sign()
    return (positions * torch.where(signs == 0, 1.0, signs)).float().numpy()


def draw_style_map(styles: Sequence[StyleEmbedding], size: int = 768) -> np.ndarray:
    """The map as a picture, one card a style; both axes have the same scale.

    Args:
        size: pixels a side.
    Returns:
        (size, size, 3) uint8.
    """
    positions = style_positions(styles)
    reach = float(np.abs(positions).max()) or 1.0
    canvas = np.full((size, size, 3), BACKGROUND, np.uint8)
    cv2.line(canvas, (0, size // 2), (size, size // 2), LINE, 1)
    cv2.line(canvas, (size // 2, 0), (size // 2, size), LINE, 1)
    for style, position in zip(styles, positions, strict=True):
        x, y = (size / 2 + position * (1, -1) / reach * size * (0.5 - MARGIN)).round().astype(int)
        card = _card(style)
        if card is None:
            cv2.circle(canvas, (x, y), 8, INK, -1, cv2.LINE_AA)
        else:
            top, left = (int(np.clip(centre - CARD // 2, 0, size - CARD)) for centre in (y, x))
            canvas[top : top + CARD, left : left + CARD] = card
        width = cv2.getTextSize(style.name, FONT, 0.5, 1)[0][0]
        name_left = int(np.clip(x - width // 2, 2, max(2, size - width - 2)))
        baseline = int(min(y + CARD // 2 + 18, size - 6))
        cv2.putText(canvas, style.name, (name_left, baseline), FONT, 0.5, INK, 1, cv2.LINE_AA)
    return canvas


def _card(style: StyleEmbedding) -> np.ndarray | None:
    """(CARD, CARD, 3) uint8 RGB of a style's thumbnail; None where it has none that can be decoded."""
    if not style.thumbnail:
        return None
    decoded = cv2.imdecode(np.frombuffer(style.thumbnail, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        return None
    return cv2.cvtColor(cv2.resize(decoded, (CARD, CARD), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
