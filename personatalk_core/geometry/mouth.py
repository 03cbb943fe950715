"""How far the mouth is open, and how wide it is."""

from __future__ import annotations

from torch import Tensor

from ..checks import check_shape
from .face_model import FaceModel


def mouth_opening(vertices: Tensor, face_model: FaceModel) -> Tensor:
    """Distance of the inner lips at their middle, mean of the three middle pairs.

    Args:
        vertices: (T, V, 3).
    Returns:
        (T,) in the unit of the vertices (canonical: 1 is the distance of the outer eye corners).
    """
    check_shape("vertices", vertices, "T", face_model.vertex_count, 3)
    ring = face_model.inner_lips
    half = len(ring) // 2
    upper, lower = ring[half // 2 - 1 : half // 2 + 2], ring[[-(half // 2) + 1, -(half // 2), -(half // 2) - 1]]
    return (vertices[:, upper] - vertices[:, lower]).norm(dim=-1).mean(-1)


def mouth_width(vertices: Tensor, face_model: FaceModel) -> Tensor:
    """Distance of the inner mouth corners: (T, V, 3) to (T,), in the unit of the vertices."""
    check_shape("vertices", vertices, "T", face_model.vertex_count, 3)
    right, left = face_model.mouth_corners
    return (vertices[:, left] - vertices[:, right]).norm(dim=-1)
