"""Projected normalised coordinate code: each pixel of the face says where on the face model it lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from einops import einsum, rearrange
from torch import Tensor

from ..checks import check_shape
from ..types import Pncc
from .face_model import FaceModel, Region
from .rasterizer import rasterize
from .topology import CavityWalls, cavity_walls

DRAWN = (Region.FACE, Region.EYE, Region.MOUTH_CAVITY)


def draw_pncc(
    points: Tensor, face_model: FaceModel, size: tuple[int, int], regions: Sequence[Region] = DRAWN
) -> Pncc:
    """Draw each frame's face as a map of normalised canonical coordinates.

    Paper: 3.1 (target geometry as PNCC, Zhu et al. 2017). The mouth cavity has coordinates of its own.
    Args:
        points:     (T, V, 3) x, y, depth in crop pixels.
        face_model: its triangles and pncc_colour are all that decides.
        size:       (height, width) of the crop in pixels.
        regions:    which parts to draw; the skirt only when asked for. Face and mouth cavity together have
            walls between them.
    Returns:
        Pncc: map in [0, 1] with background exactly 0; triangle numbers count all triangles of the face model.
    Raises:
        ShapeError: the vertex count is not the face model's, or points are not finite.
    """
    triangle, barycentric, depth = rasterize_face(points, face_model, size, regions)
    return Pncc(
        interpolate(face_model.pncc_colour, face_model.triangles, triangle, barycentric).clamp(0, 1),
        triangle,
        barycentric,
        depth,
    )


def rasterize_face(
    points: Tensor, face_model: FaceModel, size: tuple[int, int], regions: Sequence[Region] = tuple(Region)
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`rasterize` for a face: some of its regions, and the walls of its mouth cavity
    (``cavity_walls``).

    Args and errors as of :func:`draw_pncc`.
    Returns:
        triangle (T, H, W) among all triangles of the face model, barycentric (T, 3, H, W), depth (T, H, W).
    """
    check_shape("points", points, "T", face_model.vertex_count, 3)
    chosen = torch.isin(
        face_model.region.long(), torch.tensor([int(r) for r in regions], device=points.device)
    ).nonzero()[:, 0]
    triangles, walls = face_model.triangles[chosen], None
    if Region.FACE in regions and Region.MOUTH_CAVITY in regions:
        walls = cavity_walls(face_model)
        triangles, chosen = torch.cat([triangles, walls.triangles]), torch.cat([chosen, walls.owner])
    triangle, barycentric, depth = rasterize(points, triangles, size)
    if walls is not None:
        _carry_to_owners(triangle, barycentric, walls, len(chosen) - len(walls.owner))
    covered = triangle >= 0
    return torch.where(covered, chosen[triangle.clamp_min(0)], triangle), barycentric, depth


def _carry_to_owners(triangle: Tensor, barycentric: Tensor, walls: CavityWalls, first: int) -> None:
    """Weights of pixels on a wall, triangles from ``first`` on, become weights of the cavity's triangle; in
    place."""
    frame, row, column = (triangle >= first).nonzero(as_tuple=True)
    weights = barycentric[frame, :, row, column]  # (N, 3)
    carry = walls.carry[triangle[frame, row, column] - first].to(weights)
    barycentric[frame, :, row, column] = einsum(weights, carry, "n i, n i j -> n j")


def interpolate(values: Tensor, triangles: Tensor, triangle: Tensor, barycentric: Tensor) -> Tensor:
    """Carry vertex values to pixels.

    Args:
        values:      (V, C) for all frames or (T, V, C).
        triangles:   (F, 3) vertex ids.
        triangle:    (T, H, W) triangle ids, -1 where nothing.
        barycentric: (T, 3, H, W).
    Returns:
        (T, C, H, W), exactly 0 where nothing.
    """
    frames, height, width = triangle.shape
    flat = rearrange(triangle, "t h w -> (t h w)")
    covered = (flat >= 0).nonzero()[:, 0]
    corners = triangles[flat[covered]]  # (N, 3)
    if values.ndim == 3:
        corners = corners + (covered // (height * width) * values.shape[1])[:, None]
        values = rearrange(values, "t v c -> (t v) c")
    weights = rearrange(barycentric, "t k h w -> k (t h w)")[:, covered]  # (3, N)
    output = values.new_zeros((values.shape[1], len(flat)))
    for channel, value in enumerate(rearrange(values, "v c -> c v").contiguous()):
        output[channel, covered] = sum(weights[k] * value[corners[:, k]] for k in range(3))
    return rearrange(output, "c (t h w) -> t c h w", t=frames, h=height)
