"""How alike a target frame and a reference are, before anything is learned: mouth shape and head pose.

Both are compared in units that do not depend on the person: canonical units for the mouth, and the entries of
the matrix that turns the mean face into the drawn one for the pose.
"""

from __future__ import annotations

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
    lower = face_model.lower_count
    mouth = mouth_vertices(face_model).to(expression.device)
    basis = face_model.expression_basis.to(expression.device)[:lower, mouth]  # (lower, K, 3)
    flat = rearrange(basis, "e k c -> e (k c)")
    return expression[:, :lower] @ flat / len(mouth) ** 0.5


def head_pose(points: Tensor, face_model: FaceModel) -> Tensor:
    """The head's orientation, read back from drawn vertices.

    Args:
        points:     (N, V, 3) x, y in pixels, depth in the same unit.
        face_model: the mean face the points are compared with.
    Returns:
        (N, 9) float32: the least-squares matrix from the mean face to the points, divided by its own size, so
        that it is close to a rotation matrix; row order.
    """
    device = points.device
    own = (face_model.region.to(device) == 0).nonzero()[:, 0]
    triangles = face_model.triangles.to(device)[own]
    used = torch.unique(triangles)
    mean = face_model.mean.to(device)[used]
    inverse = torch.linalg.pinv(mean - mean.mean(dim=0))  # (3, K)
    centred = points[:, used] - points[:, used].mean(dim=1, keepdim=True)
    matrix = torch.einsum("ck,nkd->ncd", inverse, centred)  # (N, 3, 3)
    size = matrix.flatten(1).norm(dim=1).clamp_min(1e-6) / 3.0**0.5
    return rearrange(matrix, "n c d -> n (c d)") / size[:, None]
