"""Walls between the lips and the mouth cavity behind them, so that a turned head with an open mouth shows no gap there.

The cavity is a patch a little behind the lips. Seen from the side it slides out from under the far lip, and a thin line
of nothing would open between the two. The walls are drawn in that line and count as the cavity's own edge: they have its
triangle numbers and its colours, so that a face model needs no triangles for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .face_model import FaceModel, Region


@dataclass(frozen=True, eq=False)
class CavityWalls:
    """triangles (N, 3) from inner lips to cavity.  owner (N,): the cavity's triangle of the face model that a wall counts as.
    carry (N, 3, 3): weights in the wall's corners, times this, are weights in the owner's."""

    triangles: Tensor
    owner: Tensor
    carry: Tensor


@lru_cache(maxsize=8)
def cavity_walls(face_model: FaceModel) -> CavityWalls:
    """The walls of a face model whose cavity has one vertex for each of the inner lips, in their order; else none."""
    inside = (face_model.region == int(Region.MOUTH_CAVITY)).nonzero()[:, 0]
    patch = face_model.triangles[inside]
    cavity, lips = patch.unique(), face_model.inner_lips
    device = lips.device
    if len(cavity) != len(lips):
        return CavityWalls(patch[:0], inside[:0], torch.zeros((0, 3, 3), device=device))
    edges = {frozenset(pair): k for k, (a, b, c) in enumerate(patch.tolist()) for pair in ((a, b), (b, c), (c, a))}
    ring, behind = lips.tolist(), cavity.tolist()
    triangles, owner, carry = [], [], []
    for k in range(len(ring)):
        after = (k + 1) % len(ring)
        own = edges[frozenset((behind[k], behind[after]))]
        corners = patch[own].tolist()
        for wall, stands_for in (
            ((ring[k], ring[after], behind[k]), (behind[k], behind[after], behind[k])),
            ((behind[k], ring[after], behind[after]), (behind[k], behind[after], behind[after])),
        ):
            triangles.append(wall)
            owner.append(int(inside[own]))
            carry.append([[float(corner == vertex) for corner in corners] for vertex in stands_for])
    return CavityWalls(torch.tensor(triangles, device=device), torch.tensor(owner, device=device), torch.tensor(carry, device=device))
