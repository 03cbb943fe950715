"""Where styles lie among each other: a flat map on which near styles speak alike."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from ..errors import ShapeError
from ..speech.style import check_same_maker
from ..types import StyleEmbedding

MARGIN, CARD = 0.14, 72  # share of the picture kept free at its border; pixels of a style's picture
BACKGROUND, INK, LINE = (24, 26, 32), (236, 238, 242), (70, 76, 88)


def style_positions(styles: Sequence[StyleEmbedding]) -> np.ndarray:
    """The two directions along which the styles differ most (principal components).

    Args:
        styles: made by the same networks, at least one.
    Returns:
        (N, 2) float32, centred; distances are in the unit of the style vectors. The sign is fixed so that a
        map does not flip from run to run: on each axis the style farthest from the middle lies on the
        positive side.
    Raises:
        ShapeError: no style. FaceModelMismatchError: styles of different networks.
    """
    if not styles:
        raise ShapeError("0 styles came but a map needs at least one.")
    check_same_maker(styles)
    vectors = torch.stack([style.vector.double() for style in styles])  # (N, D)
    left, size, _ = torch.linalg.svd(vectors - vectors.mean(0), full_matrices=False)
    places = torch.zeros(len(styles), 2, dtype=torch.float64)
    count = min(2, size.shape[0])
    places[:, :count] = left[:, :count] * size[:count]
    farthest = places.abs().argmax(dim=0)
    signs = places[farthest, torch.arange(2)].sign()
    return (places * torch.where(signs == 0, 1.0, signs)).float().numpy()


def draw_style_map(styles: Sequence[StyleEmbedding], size: int = 768) -> np.ndarray:
    """The map as a picture, one card a style; both axes have the same scale.

    Returns:
        (size, size, 3) uint8.
    """
    places = style_positions(styles)
    reach = float(np.abs(places).max()) or 1.0
    picture = np.full((size, size, 3), BACKGROUND, np.uint8)
    cv2.line(picture, (0, size // 2), (size, size // 2), LINE, 1)
    cv2.line(picture, (size // 2, 0), (size // 2, size), LINE, 1)
    for style, place in zip(styles, places, strict=True):
        x, y = (size / 2 + place * (1, -1) / reach * size * (0.5 - MARGIN)).round().astype(int)
        card = _card(style)
        if card is None:
            cv2.circle(picture, (x, y), 8, INK, -1, cv2.LINE_AA)
        else:
            top, left = (
                int(np.clip(y - CARD // 2, 0, size - CARD)),
                int(np.clip(x - CARD // 2, 0, size - CARD)),
            )
            picture[top : top + CARD, left : left + CARD] = card
        width = cv2.getTextSize(style.name, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)[0][0]
        below = (
            int(np.clip(x - width // 2, 2, max(2, size - width - 2))),
            int(min(y + CARD // 2 + 18, size - 6)),
        )
        cv2.putText(picture, style.name, below, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    return picture


def _card(style: StyleEmbedding) -> np.ndarray | None:
    if not style.thumbnail:
        return None
    decoded = cv2.imdecode(np.frombuffer(style.thumbnail, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None:
        return None
    return cv2.cvtColor(cv2.resize(decoded, (CARD, CARD), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
