"""Which part of the mesh is lips and which is face: smooth weights on vertices, so that masks move with the
geometry."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..geometry.face_model import FaceModel, Region

LIP_REACH = 0.16  # canonical units from the red of the lips over which the lip mask M^l falls to 0


def mouth_vertices(face_model: FaceModel) -> Tensor:
    """Vertex numbers of the lips and of the mouth cavity, (K,) int64, ascending."""
    triangles = face_model.triangles[face_model.region == int(Region.MOUTH_CAVITY)]
    return torch.unique(
        torch.cat([face_model.lips, face_model.outer_lips, face_model.inner_lips, triangles.flatten()])
    )


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
    """(F,) bool: triangles of the red of the lips and of the mouth cavity, the hard lip region of the
    metrics."""
    mouth = torch.zeros(len(face_model.mean), dtype=torch.bool, device=face_model.mean.device)
    mouth[mouth_vertices(face_model)] = True
    return mouth[face_model.triangles].all(dim=1)


def drawn_triangles(face_model: FaceModel) -> Tensor:
    """(F,) bool: triangles that PNCC draws: face, eyes and mouth cavity, but not the skirt."""
    return face_model.region != int(Region.SKIRT)


DEPTH_TOLERANCE = 0.05  # canonical units behind the drawn surface at which a vertex counts as half hidden
NOTHING = -1e4  # depth of pixels where nothing is drawn
# cosine between normal and view: never seen below the first, fully above the second
FACING_START, FACING_END = (
    0.02,
    0.30,
)


def vertex_normals(points: Tensor, triangles: Tensor) -> Tensor:
    """(N, V, 3) unit normals of (N, V, 3) vertices with depth towards the viewer, y downwards; z > 0 faces
    the viewer."""
    flipped = points * points.new_tensor([1.0, -1.0, 1.0])
    a, b, c = (flipped[:, triangles[:, k]] for k in range(3))
    normal = torch.linalg.cross(b - a, c - a)  # (N, F, 3), length twice the area
    total = torch.zeros_like(points)
    for k in range(3):
        total.index_add_(1, triangles[:, k], normal)
    return F.normalize(total, dim=-1, eps=1e-12)


def vertex_visibility(points: Tensor, depth: Tensor, face_model: FaceModel) -> Tensor:
    """How well each vertex was seen.

    Args:
        points: (N, V, 3) crop pixels.
        depth:  (N, H, W) drawn depth of the same crops, -inf where nothing.
    Returns:
        (N, V) in [0, 1]: 0 for vertices that face away, lie behind another part of the face, or outside the
        crop.
    """
    size = depth.shape[-1]
    facing = vertex_normals(points, face_model.triangles)[..., 2]
    seen = ((facing - FACING_START) / (FACING_END - FACING_START)).clamp(0, 1)
    unit = pixels_per_unit(points, face_model)  # (N,)
    front = surface_depth(points, depth)  # (N, V)
    behind = (front - points[..., 2]) / (unit[:, None] * DEPTH_TOLERANCE)
    seen = seen * (2.0 - behind).clamp(0, 1)
    inside = ((points[..., :2] >= 0) & (points[..., :2] <= size)).all(dim=-1)
    return seen * inside


def surface_depth(points: Tensor, depth: Tensor) -> Tensor:
    """Depth of the drawn surface where each vertex (N, V, 3) should be: the farthest of the three by three
    pixels around it.

    depth (N, H, W), -inf where nothing; at the border of the drawing the nearest, outside the crop 0. Returns
    (N, V).
    """
    height, width = depth.shape[-2:]
    place = torch.round(points[..., :2] - 0.5).long()  # (N, V, 2) column, row
    inside = ((place >= 0) & (place < place.new_tensor([width, height]))).all(dim=-1)
    near = torch.arange(-1, 2, device=depth.device)
    row = (place[..., 1, None] + near).clamp(0, height - 1)[..., :, None]  # (N, V, 3, 1)
    column = (place[..., 0, None] + near).clamp(0, width - 1)[..., None, :]  # (N, V, 1, 3)
    frame = torch.arange(len(depth), device=depth.device)[:, None, None, None]
    around = depth[frame, row, column].flatten(2).clamp_min(NOTHING)  # (N, V, 9)
    farthest = around.amin(dim=-1)
    return torch.where(farthest > NOTHING, farthest, around.amax(dim=-1)) * inside


def pixels_per_unit(points: Tensor, face_model: FaceModel) -> Tensor:
    """(N,) how many pixels a canonical unit is: spread of the drawn vertices over the spread of the mean
    face."""
    mean = face_model.mean
    spread = (mean - mean.mean(dim=0)).square().sum().sqrt()
    return (points - points.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1) / spread
