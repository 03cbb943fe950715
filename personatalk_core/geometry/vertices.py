"""Coefficients to vertices (paper 3.1): canonical {alpha, beta, 0}, expression only {0, beta, 0}, posed
{alpha, beta, p}."""

from __future__ import annotations

from einops import einsum
from torch import Tensor

from ..checks import check_shape
from ..types import FaceGeometry
from .camera import project
from .face_model import FaceModel


def shape_vertices(identity: Tensor | None, expression: Tensor, face_model: FaceModel) -> Tensor:
    """Canonical vertices of coefficients.

    Args:
        identity:   (A,) for all frames, (T, A), or None for the mean person.
        expression: (T, E).
    Returns:
        (T, V, 3) canonical units.
    Raises:
        ShapeError: a width is not the face model's.
    """
    check_shape("expression", expression, "T", face_model.expression_count)
    vertices = face_model.mean + einsum(expression, face_model.expression_basis, "t e, e v c -> t v c")
    if identity is None:
        return vertices
    check_shape("identity", identity, *(("T",) if identity.ndim == 2 else ()), face_model.identity_count)
    return vertices + einsum(identity, face_model.identity_basis, "... a, a v c -> ... v c")


def canonical_vertices(geometry: FaceGeometry, face_model: FaceModel) -> Tensor:
    """(T, V, 3) canonical: the person's face without head pose, {alpha, beta, 0}."""
    return shape_vertices(geometry.identity, geometry.expression, face_model)


def expression_vertices(geometry: FaceGeometry, face_model: FaceModel) -> Tensor:
    """(T, V, 3) canonical: the mean person's face with this expression, {0, beta, 0}."""
    return shape_vertices(None, geometry.expression, face_model)


def template_vertices(geometry: FaceGeometry, face_model: FaceModel) -> Tensor:
    """(V, 3) canonical: the person's face at rest, {alpha, 0, 0}."""
    return shape_vertices(geometry.identity, geometry.expression[:1] * 0, face_model)[0]


def posed_vertices(geometry: FaceGeometry, face_model: FaceModel) -> Tensor:
    """(T, V, 3) x, y and depth in image pixels, {alpha, beta, p}."""
    return project(
        canonical_vertices(geometry, face_model), geometry.rotation, geometry.translation, geometry.scale
    )


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
    upper, lower = (
        ring[half // 2 - 1 : half // 2 + 2],
        ring[[-(half // 2) + 1, -(half // 2), -(half // 2) - 1]],
    )
    return (vertices[:, upper] - vertices[:, lower]).norm(dim=-1).mean(-1)


def mouth_width(vertices: Tensor, face_model: FaceModel) -> Tensor:
    """Distance of the inner mouth corners: (T, V, 3) to (T,), in the unit of the vertices."""
    check_shape("vertices", vertices, "T", face_model.vertex_count, 3)
    right, left = face_model.mouth_corners
    return (vertices[:, left] - vertices[:, right]).norm(dim=-1)
