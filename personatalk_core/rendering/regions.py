"""Which part of the mesh is lips and which is face: smooth weights on vertices, so that masks move with the geometry."""

from __future__ import annotations

import torch
from torch import Tensor

from ..geometry.face_model import FaceModel, Region

LIP_REACH = 0.16  # canonical units from the red of the lips over which the lip mask M^l falls to 0


def mouth_vertices(face_model: FaceModel) -> Tensor:
    """Vertex numbers of the lips and of the mouth cavity, (K,) int64, ascending."""
    triangles = face_model.triangles[face_model.region == int(Region.MOUTH_CAVITY)]
    return torch.unique(torch.cat([face_model.lips, face_model.outer_lips, face_model.inner_lips, triangles.flatten()]))


def lip_weight(face_model: FaceModel, reach: float = LIP_REACH) -> Tensor:
    """The soft lip mask M^l of eq. 4 on the vertices.

    Args:
        face_model: the mesh.
        reach:      canonical units over which the weight falls from 1 on the lips to 0.
    Returns:
        (V,) float32 in [0, 1]; 1 on the lips and in the cavity.
    """
    distance = torch.cdist(face_model.mean, face_model.mean[mouth_vertices(face_model)]).amin(dim=1)  # (V,)
    fall = (1.0 - distance / reach).clamp(0.0, 1.0)
    return fall * fall * (3.0 - 2.0 * fall)


def lip_triangles(face_model: FaceModel) -> Tensor:
    """(F,) bool: triangles of the red of the lips and of the mouth cavity, the hard lip region of the metrics."""
    mouth = torch.zeros(len(face_model.mean), dtype=torch.bool, device=face_model.mean.device)
    mouth[mouth_vertices(face_model)] = True
    return mouth[face_model.triangles].all(dim=1)


def drawn_triangles(face_model: FaceModel) -> Tensor:
    """(F,) bool: triangles that PNCC draws: face, eyes and mouth cavity, but not the skirt."""
    return face_model.region != int(Region.SKIRT)
