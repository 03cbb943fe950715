"""From the coefficient network's numbers to where the fitting starts, C^init of paper 3.1.

With the face model that the network speaks of (BFM09 with 80 identity and 64 expression components) identity, expression and
rotation are the network's. With any other only the rotation means the same; identity and expression then come from the
landmarks under that rotation. Size and place always come from the landmarks: the network's camera is perspective,
ours is not.
"""

from __future__ import annotations

import torch
from einops import einsum
from torch import Tensor

from ..checks import check_finite, check_shape
from .camera import axis_angle, rotation_matrix
from .coefficient_network import HEADS, NetworkCoefficients
from .face_model import FaceModel
from .initialisation import Coefficients, initial_coefficients
from .procrustes import scale_and_shift


def speaks_of(face_model: FaceModel) -> bool:
    """Whether the network's identity and expression are this face model's: BFM09, its expression split in lower and upper."""
    return face_model.identity_count == HEADS["identity"] and face_model.expression_count == 2 * HEADS["expression"]


def starting_coefficients(found: NetworkCoefficients, points: Tensor, face_model: FaceModel) -> Coefficients:
    """Where to start the fitting of frames that show a face.

    Args:
        found:  the network's numbers for the T frames.
        points: (T, K, 3) landmarks of the face model's ``landmark_vertex``, image pixels.
    Returns:
        Coefficients of the T frames.
    Raises:
        ShapeError: another number of frames, or numbers that are not finite.
    """
    check_shape("angles of the network", found.angle, len(points), 3)
    for name in ("identity", "expression", "angle"):
        check_finite(f"{name} of the network", getattr(found, name))
    rotation = euler_rotation(found.angle)
    if not speaks_of(face_model):
        return initial_coefficients(points, face_model, rotation=rotation)
    identity = found.identity.mean(0)
    expression = torch.cat([found.expression, found.expression], 1)
    vertex = face_model.landmark_vertex
    shape = face_model.mean[vertex] + einsum(identity, face_model.identity_basis[:, vertex], "a, a k c -> k c")
    shape = shape + einsum(expression, face_model.expression_basis[:, vertex], "t e, e k c -> t k c")
    scale, shift = scale_and_shift(shape, points * points.new_tensor([1, -1, 1]), rotation, face_model.rigid_weight[vertex] + 1e-3)
    return Coefficients(identity, expression, axis_angle(rotation), shift[:, :2] * shift.new_tensor([1, -1]), scale)


def euler_rotation(angle: Tensor) -> Tensor:
    """(T, 3) pitch, yaw, roll to (T, 3, 3): first about x, then y, then z, of column vectors."""
    axes = torch.eye(3, dtype=angle.dtype, device=angle.device)
    about_x, about_y, about_z = (rotation_matrix(angle[:, k : k + 1] * axes[k]) for k in range(3))
    return about_z @ about_y @ about_x
