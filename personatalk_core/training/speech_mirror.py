"""A talker seen in a mirror says the same: coefficients of the mirrored face, for training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from ..geometry.face_model import FaceModel

ALIKE = 1e-3  # canonical units within which a vertex's reflection must meet its partner


@dataclass(frozen=True, eq=False)
class Mirror:
    """expression (E_low, E_low), identity (A, A): row vectors of coefficients times these are those of the mirrored face."""

    expression: Tensor
    identity: Tensor


def face_mirror(face_model: FaceModel) -> Mirror | None:
    """The mirror of a face model whose mean is symmetric, as the one learned here is; None for another."""
    mean = face_model.mean.float()
    distance, partner = torch.cdist(mean * mean.new_tensor([-1.0, 1.0, 1.0]), mean, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    if float(distance.max()) > ALIKE or not torch.equal(partner[partner], torch.arange(len(partner))):
        return None
    lower = face_model.expression_basis[: face_model.lower_count]
    return Mirror(_mirror_matrix(lower, partner), _mirror_matrix(face_model.identity_basis, partner))


def _mirror_matrix(basis: Tensor, partner: Tensor) -> Tensor:
    """(K, K) for a basis (K, V, 3): mirrored basis vectors, least squares in the basis itself."""
    flipped = basis[:, partner] * basis.new_tensor([-1.0, 1.0, 1.0])
    own, other = (rearrange(b.double(), "k v c -> k (v c)") for b in (basis, flipped))
    return (other @ torch.linalg.pinv(own)).to(basis.dtype)
