"""How alike a target frame and a reference are, before anything is learned: mouth shape and head pose.

Both are compared in units that do not depend on the person: canonical units for the mouth, and the entries of
the matrix that turns the mean face into the drawn one for the pose.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from ..checks import check_shape
from ..geometry.face_model import FaceModel
from .regions import mouth_vertices


def mouth_shape(expression: Tensor, face_model: FaceModel) -> Tensor:
    """The mouth's shape as offsets of its vertices from rest.

    Args:
        expression: (N, E) in standard deviations; only the lower-face columns are used.
        face_model: ``expression_basis`` (E, V, 3).
    Returns:
        (N, S) float32, scaled so that the squared distance of two rows is the mean squared offset of a mouth
        vertex in canonical units.
    Raises:
        ShapeError: the expression's width is not the face model's.
    """
    check_shape("expression", expression, "N", face_model.expression_basis.shape[0])
    return expression[:, : face_model.lower_count] @ _mouth_basis(face_model).to(expression.device)


def head_pose(points: Tensor, face_model: FaceModel) -> Tensor:
    """The head's orientation, read back from drawn vertices.

    Args:
        points:     (N, V, 3) x, y in pixels, depth in the same unit.
        face_model: the mean face the points are compared with.
    Returns:
        (N, 9) float32: the least-squares matrix from the mean face to the points, divided by its own size, so
        that it is close to a rotation matrix; row order.
    """
    used, inverse = (x.to(points.device) for x in _face_inverse(face_model))
    centred = points[:, used] - points[:, used].mean(dim=1, keepdim=True)
    matrix = torch.einsum("ck,nkd->ncd", inverse, centred)  # (N, 3, 3)
    size = matrix.flatten(1).norm(dim=1).clamp_min(1e-6) / 3.0**0.5
    return rearrange(matrix, "n c d -> n (c d)") / size[:, None]


@lru_cache(maxsize=8)
def _mouth_basis(face_model: FaceModel) -> Tensor:
    """(lower_count, S): what a standard deviation of each lower-face component does to the mouth."""
    with torch.inference_mode(False):  # so that training can use it, whoever asked first
        mouth = mouth_vertices(face_model)
        basis = face_model.expression_basis[: face_model.lower_count, mouth]  # (lower, K, 3)
        return rearrange(basis, "e k c -> e (k c)") / len(mouth) ** 0.5


@lru_cache(maxsize=8)
def _face_inverse(face_model: FaceModel) -> tuple[Tensor, Tensor]:
    """The face's own vertices (K,), and the pseudo-inverse (3, K) of their places in the mean face."""
    with torch.inference_mode(False):
        used = torch.unique(face_model.triangles[face_model.region == 0])
        mean = face_model.mean[used]
        return used, torch.linalg.pinv(mean - mean.mean(dim=0))
