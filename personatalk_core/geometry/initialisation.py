"""Coefficients from landmarks in closed form: what the optimisation starts from, C^init of paper 3.1.

The paper starts from a network's per-frame coefficients (Deng et al. 2019b); here the landmarker is the network, and
coefficients follow from its 3-D landmarks: Procrustes pose on the rigid upper face, one identity for the clip, and a
ridge-regressed expression a frame. Any other source of :class:`Coefficients` can take its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from torch import Tensor

from .camera import axis_angle, rotation_matrix
from .face_model import FaceModel
from .procrustes import align_similarity

NOISE = 0.02  # canonical units: how far landmarks scatter about the model's surface; sets the ridge
LIP_WEIGHT = 3.0
DEPTH_WEIGHT = 0.3  # the landmarker guesses depth
ROUNDS = 3
EFFECTIVE = 120.0  # landmarks of one frame err together: a frame counts as no more independent ones than this


@dataclass(frozen=True, eq=False)
class Coefficients:
    """identity (A,), expression (T, E), rotation (T, 3) radians, translation (T, 2) px, scale (T,) px a canonical unit."""

    identity: Tensor
    expression: Tensor
    rotation: Tensor
    translation: Tensor
    scale: Tensor


def initial_coefficients(points: Tensor, face_model: FaceModel, chosen: Tensor | None = None) -> Coefficients:
    """Fit each frame on its own, with one identity for all.

    Args:
        points: (T, K, 3) landmarks of the face model's ``landmark_vertex``, image pixels, larger depth is nearer; T >= 1.
        chosen: which of the K landmarks to use; None for all.
    Returns:
        Coefficients of the T frames.
    """
    chosen = torch.arange(points.shape[1], device=points.device) if chosen is None else chosen
    vertex = face_model.landmark_vertex[chosen]
    seen = points[:, chosen] * points.new_tensor([1, -1, 1])  # y up
    mean = face_model.mean[vertex]
    identity_basis, expression_basis = face_model.identity_basis[:, vertex], face_model.expression_basis[:, vertex]
    rigid = face_model.rigid_weight[vertex] + 1e-3
    weight = coordinate_weight(face_model, vertex)
    expression = points.new_zeros((len(points), face_model.expression_count))
    shape = mean
    for _ in range(ROUNDS):
        rotation, scale, shift = align_similarity(shape, seen, rigid)
        unposed = einsum(rotation.mT / scale[:, None, None], seen - shift[:, None], "t i j, t k j -> t k i")
        both = torch.cat([identity_basis, expression_basis])
        average = ridge(both, (unposed - mean).mean(0, keepdim=True), weight)[0]
        identity = average[: face_model.identity_count]
        own = mean + einsum(identity, identity_basis, "a, a k c -> k c")
        expression = ridge(expression_basis, unposed - own, weight)
        shape = own + einsum(expression, expression_basis, "t e, e k c -> t k c")
    return Coefficients(identity, expression, axis_angle(rotation), shift[:, :2] * shift.new_tensor([1, -1]), scale)


def coordinate_weight(face_model: FaceModel, vertex: Tensor) -> Tensor:
    """(K, 3) how much each coordinate of the given vertices counts."""
    weight = torch.ones(len(vertex), 3, device=vertex.device)
    weight[torch.isin(vertex, torch.cat([face_model.inner_lips, face_model.outer_lips]))] *= LIP_WEIGHT
    weight[:, 2] *= DEPTH_WEIGHT
    return weight


def ridge(basis: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Coefficients (T, N) of offsets (T, K, 3) in a basis (N, K, 3) of standard deviations, with landmark noise ``NOISE``."""
    rows = rearrange(basis * weight, "n k c -> n (k c)").double()
    right = rearrange(offsets * weight, "t k c -> t (k c)").double()
    penalty = NOISE**2 * max(1.0, len(weight) / EFFECTIVE)
    gram = rows @ rows.T + penalty * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    return torch.linalg.solve(gram, rows @ right.T).T.to(offsets.dtype)


def reconstruct(coefficients: Coefficients, face_model: FaceModel, vertex: Tensor) -> Tensor:
    """(T, K, 3) x, y, depth in image pixels of the given vertices."""
    shape = face_model.mean[vertex] + einsum(coefficients.identity, face_model.identity_basis[:, vertex], "a, a k c -> k c")
    shape = shape + einsum(coefficients.expression, face_model.expression_basis[:, vertex], "t e, e k c -> t k c")
    turned = einsum(rotation_matrix(coefficients.rotation) * coefficients.scale[:, None, None], shape, "t i j, t k j -> t k i")
    x, y, depth = turned.unbind(-1)
    return torch.stack([x + coefficients.translation[:, :1], coefficients.translation[:, 1:] - y, depth], -1)
