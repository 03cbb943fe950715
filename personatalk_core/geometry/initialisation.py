"""Coefficients from landmarks in closed form: what the optimisation starts from, C^init of paper 3.1.

The paper starts from a network's per-frame coefficients (Deng et al. 2019b); here the landmarker is the
network, and coefficients follow from its 3-D landmarks: Procrustes pose on the rigid upper face, one identity
for the clip, and a ridge-regressed expression a frame. Any other source of :class:`Coefficients` can take its
place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from einops import einsum, rearrange
from torch import Tensor

from ..checks import check_shape
from .camera import align_similarity, axis_angle, rotation_matrix, scale_and_shift
from .face_model import FaceModel

NOISE = 0.02  # canonical units: how far landmarks scatter about the model's surface; sets the ridge
LIP_WEIGHT = 3.0
DEPTH_WEIGHT = 0.3  # the landmarker guesses depth
ROUNDS = 3
BLOCK = 1000  # frames read at once
EFFECTIVE = 120.0  # landmarks of one frame err together: a frame counts as no more independent ones than this


class Landmarks(Protocol):
    """(T, K, 3) float32: a tensor, or anything whose slices are tensors."""

    shape: tuple[int, ...]

    def __getitem__(self, frames: slice | Tensor) -> Tensor:
        """(n, K, 3) of some frames."""


@dataclass(frozen=True, eq=False)
class Coefficients:
    """identity (A,), expression (T, E), rotation (T, 3) radians, translation (T, 2) px, scale (T,) px a
    canonical unit."""

    identity: Tensor
    expression: Tensor
    rotation: Tensor
    translation: Tensor
    scale: Tensor


def initial_coefficients(
    points: Landmarks, face_model: FaceModel, chosen: Tensor | None = None, rotation: Tensor | None = None
) -> Coefficients:
    """Fit each frame on its own, with one identity for all.

    Args:
        points: (T, K, 3) landmarks of the face model's ``landmark_vertex``, image pixels, larger depth is
            nearer; T >= 1. Read
            by slices of BLOCK frames, so that those of a long clip may lie on disk.
        chosen: which of the K landmarks to use; None for all.
        rotation: (T, 3, 3) of the head where it is known from elsewhere; None: from the landmarks.
    Returns:
        Coefficients of the T frames.
    Raises:
        ShapeError: the landmarks are not the face model's.
    """
    count = check_shape("points", points, "T", len(face_model.landmark_vertex), 3)["T"]
    chosen = torch.arange(points.shape[1]) if chosen is None else chosen
    vertex = face_model.landmark_vertex[chosen]
    mean = face_model.mean[vertex]
    identity_basis, expression_basis = (
        face_model.identity_basis[:, vertex],
        face_model.expression_basis[:, vertex],
    )
    rigid = face_model.rigid_weight[vertex] + 1e-3
    weight = coordinate_weight(face_model, vertex)
    both = torch.cat([identity_basis, expression_basis])
    blocks = [slice(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]
    expression = mean.new_zeros((count, face_model.expression_count))
    turns = mean.new_zeros((count, 3, 3))
    scales, shifts = mean.new_zeros(count), mean.new_zeros((count, 3))
    own = mean

    def align(block: slice, seen: Tensor, first: bool) -> None:
        """Keep the pose that fits the present shape best."""
        shape = mean if first else own + einsum(expression[block], expression_basis, "t e, e k c -> t k c")
        if rotation is None:
            turns[block], scales[block], shifts[block] = align_similarity(shape, seen, rigid)
            return
        turns[block] = rotation[block]
        scales[block], shifts[block] = scale_and_shift(shape, seen, rotation[block], rigid)

    def unposed(block: slice, seen: Tensor) -> Tensor:
        """Landmarks in the canonical frame by the pose that was kept."""
        return einsum(
            turns[block].mT / scales[block][:, None, None],
            seen - shifts[block][:, None],
            "t i j, t k j -> t k i",
        )

    for turn in range(ROUNDS):
        average = torch.zeros_like(mean)[None]
        for block in blocks:
            seen = upright(points[block][:, chosen])
            align(block, seen, turn == 0)
            average = average + (unposed(block, seen) - mean).mean(0, keepdim=True) * (len(seen) / count)
        identity = ridge(both, average, weight)[0][: face_model.identity_count]
        own = mean + einsum(identity, identity_basis, "a, a k c -> k c")
        for block in blocks:
            expression[block] = ridge(
                expression_basis, unposed(block, upright(points[block][:, chosen])) - own, weight
            )
    return Coefficients(
        identity, expression, axis_angle(turns), shifts[:, :2] * mean.new_tensor([1, -1]), scales
    )


def upright(points: Tensor) -> Tensor:
    """Image coordinates (..., 3) with y up."""
    return points * points.new_tensor([1, -1, 1])


def coordinate_weight(face_model: FaceModel, vertex: Tensor) -> Tensor:
    """(K, 3) how much each coordinate of the given vertices counts."""
    weight = torch.ones(len(vertex), 3, device=vertex.device)
    weight[torch.isin(vertex, torch.cat([face_model.inner_lips, face_model.outer_lips]))] *= LIP_WEIGHT
    weight[:, 2] *= DEPTH_WEIGHT
    return weight


def ridge(basis: Tensor, offsets: Tensor, weight: Tensor) -> Tensor:
    """Coefficients (T, N) of offsets (T, K, 3) in a basis (N, K, 3) of standard deviations, with landmark
    noise ``NOISE``."""
    rows = rearrange(basis * weight, "n k c -> n (k c)").double()
    right = rearrange(offsets * weight, "t k c -> t (k c)").double()
    penalty = NOISE**2 * max(1.0, len(weight) / EFFECTIVE)
    gram = rows @ rows.T + penalty * torch.eye(len(rows), dtype=rows.dtype, device=rows.device)
    return torch.linalg.solve(gram, rows @ right.T).T.to(offsets.dtype)


def reconstruct(coefficients: Coefficients, face_model: FaceModel, vertex: Tensor) -> Tensor:
    """(T, K, 3) x, y, depth in image pixels of the given vertices."""
    shape = face_model.mean[vertex] + einsum(
        coefficients.identity, face_model.identity_basis[:, vertex], "a, a k c -> k c"
    )
    shape = shape + einsum(
        coefficients.expression, face_model.expression_basis[:, vertex], "t e, e k c -> t k c"
    )
    turned = einsum(
        rotation_matrix(coefficients.rotation) * coefficients.scale[:, None, None],
        shape,
        "t i j, t k j -> t k i",
    )
    x, y, depth = turned.unbind(-1)
    return torch.stack([x + coefficients.translation[:, :1], coefficients.translation[:, 1:] - y, depth], -1)
