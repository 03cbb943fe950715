"""Where each target pixel's piece of skin lies in each reference, to a fraction of a pixel, through the mesh.

A drawn mesh names, for every pixel, three vertices and their weights. Any quantity given on vertices (a
colour, a reference's image position, whether the reference saw it) can then be read at every pixel. This is
the readable version, in plain torch over whole pictures; ``fast/surface.py`` gives the same in less time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..config import CROP_SIZE
from ..geometry.face_model import FaceModel, Region
from ..geometry.rasterizer import rasterize
from ..geometry.topology import cavity_walls
from .batch import ReferenceBatch, ReferenceFrames, Targets
from .regions import drawn_triangles, lip_weight, vertex_visibility
from .similarity import shape_and_pose

SUBPIXELS = 32  # positions are read to 1/32 of a pixel: OpenCV's own grid, far below the landmarks' noise
KERNEL = "bicubic"  # bilinear reading alone costs a fifth of the finest detail


@dataclass(frozen=True, eq=False)
class Surface:
    """Drawn meshes; * is B of them, or nothing for a single one, which is what ``surface[b]`` gives.

    vertex (*, H, W, 3) int32; weight (*, H, W, 3) float32, 0 where nothing; mesh, face, cavity (*, H, W)
    bool; depth (*, H, W). ``mesh`` is drawn at all, ``face`` is drawn by a triangle that is not skirt,
    ``cavity`` shows the inside of the mouth; depth is larger when nearer, -inf where nothing.
    """

    vertex: Tensor
    weight: Tensor
    mesh: Tensor
    face: Tensor
    cavity: Tensor
    depth: Tensor

    def __getitem__(self, index: int | slice) -> Surface:
        """One of several meshes, or some of them."""
        return Surface(*(getattr(self, f.name)[index] for f in fields(self)))

    def interpolate(self, values: Tensor) -> Tensor:
        """Read vertex values, (V, K) or each mesh's own (*, V, K), at every pixel: (*, K, H, W), 0 where
        nothing is drawn."""
        return read_vertices(self.vertex, self.weight, values)


def read_vertices(vertex: Tensor, weight: Tensor, values: Tensor) -> Tensor:
    """Weighted sums of three vertices' values, (V, K) or each mesh's own (*, V, K), for every pixel: vertex
    and weight (*, H, W, 3) to (*, K, H, W), channels last in memory."""
    *meshes, height, width, _ = vertex.shape
    if values.ndim > 2:  # as one table
        first = torch.arange(len(values), dtype=vertex.dtype, device=vertex.device) * values.shape[1]
        vertex, values = vertex + first[:, None, None, None], values.flatten(0, 1)
    weights = weight.reshape(-1, 3)
    rows = F.embedding_bag(vertex.reshape(-1, 3), values, mode="sum", per_sample_weights=weights)
    return rearrange(rows.view(*meshes, height, width, -1), "... h w k -> ... k h w")


def draw_surface(points: Tensor, face_model: FaceModel, size: int) -> Surface:
    """Draw meshes with cavity, its walls and skirt.

    Args:
        points: (B, V, 3) crop pixels, depth larger when nearer.
        size:   pixels of the picture's side.
    Returns:
        B surfaces.
    """
    top, bottom, left, right = reached_rectangle(points, size)
    walls = cavity_walls(face_model).triangles
    triangles = torch.cat([face_model.triangles, walls])
    corner = points.new_tensor([left, top, 0.0])
    triangle, barycentric, depth = rasterize(points - corner, triangles, (bottom - top, right - left))
    border = (left, size - right, top, size - bottom)
    triangle, depth = F.pad(triangle, border, value=-1), F.pad(depth, border, value=-torch.inf)
    weight = rearrange(F.pad(barycentric, border), "b k h w -> b h w k")  # 0 where nothing is drawn
    drawn, index, of_walls = triangle >= 0, triangle.clamp_min(0), triangle.new_ones(len(walls)).bool()
    face, cavity = (
        drawn & torch.cat([kind, of_walls])[index]
        for kind in (drawn_triangles(face_model), face_model.region == int(Region.MOUTH_CAVITY))
    )
    return Surface(triangles.int()[index], weight, drawn, face, cavity, depth)


def reached_rectangle(points: Tensor, size: int) -> tuple[int, int, int, int]:
    """Rows and columns that meshes (B, V, 3) can cover of a picture, at least one of each: top, bottom, left,
    right, the ends not included."""
    if not len(points):
        return 0, size, 0, size
    places = points[..., :2].flatten(0, 1)
    low, high = torch.stack([places.amin(dim=0), places.amax(dim=0)]).clamp(0, size).tolist()
    left, top = (min(math.floor(edge), size - 1) for edge in low)
    right, bottom = (math.ceil(edge) for edge in high)
    return top, max(top + 1, bottom), left, max(left + 1, right)


@dataclass(frozen=True, eq=False)
class DrawnTargets:
    """B targets as pictures: the mesh, geometry (B, 4, R, R) PNCC and M^l; shape (B, S), pose (B, 9)."""

    surface: Surface
    geometry: Tensor
    shape: Tensor
    pose: Tensor

    @property
    def mesh(self) -> Tensor:
        """(B, 1, R, R), 1 where a mesh is drawn, else 0."""
        return self.surface.mesh[:, None].to(self.geometry.dtype)

    @property
    def face(self) -> Tensor:
        """(B, 1, R, R), 1 where the face is drawn, cavity included and skirt not, else 0."""
        return self.surface.face[:, None].to(self.geometry.dtype)

    @property
    def lip_mask(self) -> Tensor:
        """(B, 1, R, R) in [0, 1]: M^l of eq. 4."""
        return self.geometry[:, 3:]


@dataclass(frozen=True, eq=False)
class AlignedReferences:
    """N references warped onto each of B targets.

    pixels (B, N, 3, R, R).  visibility (B, N, R, R).  key, value (B, N, D, L, L).  strength (B, N, L, L).
    """

    pixels: Tensor
    visibility: Tensor
    key: Tensor
    value: Tensor
    strength: Tensor


@lru_cache(maxsize=8)
def geometry_values(face_model: FaceModel) -> Tensor:
    """(V, 4): PNCC colour and lip weight of every vertex, what geometry maps show."""
    with torch.inference_mode(False):  # so that training can use them, whoever asked first
        return torch.cat([face_model.pncc_colour, lip_weight(face_model)[:, None]], dim=1)


def geometry_map(surface: Surface, face_model: FaceModel) -> Tensor:
    """(*, 4, H, W): PNCC without the skirt, background 0, and the soft lip mask M^l, of drawn meshes."""
    return surface.interpolate(geometry_values(face_model)) * surface.face.unsqueeze(-3)


def draw_targets(targets: Targets, face_model: FaceModel, size: int) -> DrawnTargets:
    """The target geometry G_tgt as pictures of size x size pixels."""
    surface = draw_surface(targets.points, face_model, size)
    return DrawnTargets(surface, geometry_map(surface, face_model), *shape_and_pose(targets, face_model))


def draw_references(frames: ReferenceFrames, face_model: FaceModel) -> tuple[Tensor, Tensor]:
    """The references' geometry as pictures (N, 4, 256, 256), and the visibility of their vertices (N, V)."""
    points = frames.points * (CROP_SIZE / frames.crops.shape[-1])
    surface = draw_surface(points, face_model, CROP_SIZE)
    return geometry_map(surface, face_model), vertex_visibility(points, surface.depth, face_model)


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """(2, H, W) x and y of the pixel centres; the first is 0.5."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    return torch.stack([x, y])


def corresponding_positions(surface: Surface, points: Tensor, visibility: Tensor) -> tuple[Tensor, Tensor]:
    """Positions in N references of the skin that each target pixel shows.

    Args:
        surface:    the drawn targets; * is B, or nothing for a single one.
        points:     (*, N, V, 3) vertices of each target's references in crop pixels.
        visibility: (*, N, V) in [0, 1], how well each reference saw each vertex.
    Returns:
        positions (*, N, 2, H, W) in crop pixels, the pixel's own place where no mesh is drawn; visibility (*,
        N, H, W), 1 there.
    """
    values = torch.cat([points[..., :2], visibility[..., None]], dim=-1)  # (*, N, V, 3)
    read = surface.interpolate(rearrange(values, "... n v k -> ... v (k n)"))
    read = rearrange(read, "... (k n) h w -> ... n k h w", k=3)
    place = pixel_centres(*surface.mesh.shape[-2:], device=points.device)  # (2, H, W)
    elsewhere = torch.cat([place, torch.ones_like(place[:1])])
    read = torch.where(surface.mesh[..., None, None, :, :], read, elsewhere)
    return read[..., :2, :, :], read[..., 2, :, :]


def sample_at(images: Tensor, positions: Tensor, mode: str = "bilinear") -> Tensor:
    """Read images (N, C, H, W) at positions (N, 2, h, w) in their pixels; the centre of the first is 0.5."""
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], device=images.device, dtype=positions.dtype)
    # as torch counts: -1 and 1 are the borders
    grid = rearrange(positions, "n k h w -> n h w k") * (2.0 / size) - 1.0
    return F.grid_sample(images, grid.to(images.dtype), mode=mode, padding_mode="border", align_corners=False)


def warp_references(images: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """Read full-resolution pixels of some references at their own positions, rounded to 1/SUBPIXELS.

    Args:
        images:    (M, 3, H, W) in [0, 1].
        rows:      (n,) int64, some of the M in any order; -1 reads nothing and gives 0.
        positions: (n, 2, h, w) in pixels; the centre of the first pixel is 0.5.
    Returns:
        (n, 3, h, w); beyond the border the nearest pixel counts.
    """
    place = torch.round(positions.float() * SUBPIXELS) / SUBPIXELS
    read = sample_at(images.index_select(0, rows.clamp_min(0)), place, mode=KERNEL)
    return read * (rows >= 0)[:, None, None, None]


def at_crop_size(pictures: Tensor) -> Tensor:
    """(N, C, R, R) at 256 x 256, where the encoders look."""
    if pictures.shape[-1] == CROP_SIZE:
        return pictures
    return F.interpolate(pictures, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)


def resized(image: Tensor, size: int) -> Tensor:
    """(N, C, h, w) at size x size."""
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)


def align_references(surface: Surface, references: ReferenceBatch, key_value: Tensor) -> AlignedReferences:
    """Warp pixels, keys, values (M, 2 D, L, L) and strength of the targets' references onto the targets."""
    batch, rows = references.rows.shape, references.rows.flatten()
    positions, visibility = corresponding_positions(surface, references.points, references.visibility)
    positions = positions.flatten(0, 1)  # (B N, 2, R, R)
    pixels = warp_references(references.encoded.pixels, rows, positions).unflatten(0, batch)
    step, some = positions.shape[-1] // key_value.shape[-1], rows.clamp_min(0)
    coarse = F.avg_pool2d(positions, step) / step  # (B N, 2, L, L) in latents
    key, value = sample_at(key_value[some], coarse).unflatten(0, batch).chunk(2, dim=2)
    strength = sample_at(references.encoded.strength[some], coarse).unflatten(0, batch)[:, :, 0]
    return AlignedReferences(pixels, visibility, key, value, strength)
