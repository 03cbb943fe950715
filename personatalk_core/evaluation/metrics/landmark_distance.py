"""LMD: how far the lips of an output are from where they should be (paper 4.2, lip-sync accuracy)."""

from __future__ import annotations

import torch
from torch import Tensor

from ...checks import check_shape
from ...errors import FaceModelMismatchError
from ...geometry.face_model import FaceModel
from ...geometry.vertices import canonical_vertices, mouth_opening, mouth_width
from ...types import FaceGeometry
from .lip_sync_score import correlation


def lip_landmarks(points: Tensor, face_model: FaceModel) -> Tensor:
    """The two lip rings of posed vertices: (T, V, 3) to (T, K, 2), x and y in the unit of the points."""
    check_shape("points", points, "T", face_model.vertex_count, 3)
    return points[:, torch.cat([face_model.outer_lips, face_model.inner_lips]), :2]


def landmark_distance(output: Tensor, reference: Tensor) -> Tensor:
    """Mean distance of lip landmarks after their centres are laid on each other, so that head motion does not
    count.

    Paper: 4.2 (LMD, after Guan et al. 2023). Protocol here: pixels of a 256 x 256 crop whose face is 62 % of
        its height.
    Args:
        output, reference: (T, K, 2).
    Returns:
        (T,) in the unit of the landmarks; 0 where the lips have the same shape.
    """
    axes = check_shape("output landmarks", output, "T", "K", 2)
    check_shape("reference landmarks", reference, axes["T"], axes["K"], 2)
    first, second = (x - x.mean(dim=1, keepdim=True) for x in (output, reference))
    return (first - second).norm(dim=-1).mean(dim=-1)


def mouth_series(geometry: FaceGeometry, face_model: FaceModel) -> tuple[Tensor, Tensor]:
    """Opening (T,) and width (T,) in canonical units, without head pose."""
    vertices = canonical_vertices(geometry, face_model)
    return mouth_opening(vertices, face_model), mouth_width(vertices, face_model)


def mouth_correlation(
    output: FaceGeometry, reference: FaceGeometry, face_model: FaceModel, valid: Tensor | None = None
) -> dict[str, float]:
    """Pearson's r of opening and width over the frames in which both show a usable face, and the ratio of the
    openings' spread.

    Args:
        output, reference: geometries of the same T frames.
        valid:             (T,) bool, more frames to leave out; None: none.
    Returns:
        opening_r, width_r in [-1, 1], opening_gain (1: the same liveliness).
    Raises:
        FaceModelMismatchError: made with different face models.  ShapeError: another frame count.
    """
    if output.face_model != reference.face_model:
        raise FaceModelMismatchError(
            "The two geometries were made with different face models; estimate both with the same one."
        )
    check_shape("reference expression", reference.expression, output.frame_count, "E")
    usable = output.usable & reference.usable
    usable = usable if valid is None else usable & valid
    opening, width = (x[usable] for x in mouth_series(output, face_model))
    true_opening, true_width = (x[usable] for x in mouth_series(reference, face_model))
    spread = true_opening.std() if int(usable.sum()) > 1 else torch.tensor(0.0)
    return {
        "opening_r": correlation(opening, true_opening),
        "width_r": correlation(width, true_width),
        "opening_gain": float(opening.std() / spread) if float(spread) > 1e-6 else float("nan"),
    }


def image_openings(raw: Tensor, fitted: Tensor, face_model: FaceModel, unit: float) -> tuple[Tensor, Tensor]:
    """Mouth openings in the image, of landmarks (T, K, 3) and of fitted vertices (T, V, 3): two of (T,) eye
    distances."""
    marked = fitted.clone()
    marked[:, face_model.landmark_vertex] = raw
    flat = fitted.new_tensor([1.0, 1.0, 0.0])
    return mouth_opening(marked * flat, face_model) / unit, mouth_opening(fitted * flat, face_model) / unit


def leak(output: Tensor, source: Tensor, heard: Tensor) -> float:
    """How much of the source's own mouth motion is left in an output that speaks a foreign track.

    The partial correlation of the output's opening with the source's own, the opening that the foreign sound
    asks for taken out of both: 0 where nothing leaks, 1 where the mouth was never changed.
    Args:
        output, source, heard: (T,) openings on one clock.
    """
    check_shape("source opening", source, len(output))
    check_shape("heard opening", heard, len(output))
    return correlation(_without(output, heard), _without(source, heard))


def _without(series: Tensor, other: Tensor) -> Tensor:
    """The part of a series (T,) that is not a multiple of another."""
    a, b = series.double() - series.double().mean(), other.double() - other.double().mean()
    square = float(b.square().sum())
    return a - b * (float((a * b).sum()) / square) if square > 1e-12 else a
