"""Coefficients from landmarks in closed form: what the optimisation starts from, C^init of paper 3.1.

The paper starts from a network's per-frame coefficients (Deng et al. 2019b); here the landmarker is the
network, and coefficients follow from its 3-D landmarks: Procrustes pose on the rigid upper face, one identity
for the clip, and a ridge-regressed expression a frame. Any other source of :class:`Coefficients` can take its
place.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, frames: slice | Tensor, /) -> Tensor:
        """(n, K, 3) of some frames."""
        ...


@dataclass(frozen=True, eq=False)
class Coefficients:
    """identity (A,), expression (T, E), rotation (T, 3) radians, translation (T, 2) px, scale (T,) px a
    canonical unit."""

    identity: Tensor
    expression: Tensor
    rotation: Tensor
    translation: Tensor
    scale: Tensor

    def __getitem__(self, frames: slice | Tensor) -> Coefficients:
        """Some frames of them."""
        names = ("expression", "rotation", "translation", "scale")
        return replace(self, **{name: getattr(self, name)[frames] for name in names})


def initial_coefficients(
    points: Landmarks, face_model: FaceModel, chosen: Tensor | None = None, rotation: Tensor | None = None
) -> Coefficients:
    """Fit each frame on its own, with one identity for all.

    Args:
        points:   (T, K, 3) landmarks of the face model's ``landmark_vertex``, image pixels, larger depth is
            nearer; T >= 1. Read by slices of BLOCK frames, so that those of a long clip may lie on disk.
        chosen:   which of the K landmarks to use; None for all.
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
    identity_basis = face_model.identity_basis[:, vertex]
    expression_basis = face_model.expression_basis[:, vertex]
    bases = torch.cat([identity_basis, expression_basis])
    weight = coordinate_weight(face_model, vertex)
    blocks = [slice(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
    poses = HeadPoses(count, face_model.rigid_weight[vertex] + 1e-3, rotation)
    identity = mean.new_zeros(face_model.identity_count)
    expression = mean.new_zeros((count, face_model.expression_count))
    neutral = mean  # the person's face at rest

    for iteration in range(ROUNDS):
        # the pose of each frame, and the mean offset of all from the mean face
        offset = torch.zeros_like(mean)[None]
        for block in blocks:
            observed = upright(points[block][:, chosen])
            shape = mean
            if iteration:
                shape = neutral + einsum(expression[block], expression_basis, "t e, e k c -> t k c")
            poses.align(block, shape, observed)
            offset = offset + (poses.remove(block, observed) - mean).mean(0, keepdim=True) * (
                len(observed) / count
            )

        # one identity, then an expression a frame
        identity = ridge(bases, offset, weight)[0][: face_model.identity_count]
        neutral = mean + einsum(identity, identity_basis, "a, a k c -> k c")
        for block in blocks:
            unposed = poses.remove(block, upright(points[block][:, chosen]))
            expression[block] = ridge(expression_basis, unposed - neutral, weight)
    return poses.coefficients(identity, expression)


class HeadPoses:
    """A similarity for each of T frames, found block by block: landmarks = scale * rotation @ shape + shift,
    y up.

    Args:
        count:    T.
        weight:   (K,) how much each landmark moves only with the head.
        rotation: (T, 3, 3) where it is known from elsewhere.
    """

    def __init__(self, count: int, weight: Tensor, rotation: Tensor | None) -> None:
        self._weight, self._known_rotation = weight, rotation
        self._rotation = weight.new_zeros((count, 3, 3))
        self._scale, self._shift = weight.new_zeros(count), weight.new_zeros((count, 3))

    def align(self, block: slice, shape: Tensor, observed: Tensor) -> None:
        """Find the poses that carry shape, (K, 3) or (n, K, 3) canonical, onto the landmarks (n, K, 3)."""
        if self._known_rotation is None:
            pose = align_similarity(shape, observed, self._weight)
            self._rotation[block], self._scale[block], self._shift[block] = pose
            return
        self._rotation[block] = self._known_rotation[block]
        self._scale[block], self._shift[block] = scale_and_shift(
            shape, observed, self._rotation[block], self._weight
        )

    def remove(self, block: slice, observed: Tensor) -> Tensor:
        """(n, K, 3) landmarks in the canonical frame."""
        return einsum(
            self._rotation[block].mT / self._scale[block][:, None, None],
            observed - self._shift[block][:, None],
            "t i j, t k j -> t k i",
        )

    def coefficients(self, identity: Tensor, expression: Tensor) -> Coefficients:
        """With the poses as coefficients, in image coordinates."""
        translation = self._shift[:, :2] * self._shift.new_tensor([1, -1])
        return Coefficients(identity, expression, axis_angle(self._rotation), translation, self._scale)


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
