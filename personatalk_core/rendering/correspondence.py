"""Where each target pixel's piece of skin lies in each reference, to a fraction of a pixel, through the mesh.

A drawn mesh names, for every pixel, three vertices and their weights. Any quantity given on vertices (a
colour, a reference's image position, whether the reference saw it) can then be read at every pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..geometry.cavity_walls import cavity_walls
from ..geometry.face_model import FaceModel, Region
from ..geometry.rasterizer import rasterize
from .regions import drawn_triangles


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, rows top to bottom and columns left to right, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left

    def cut(self, image: Tensor) -> Tensor:
        """The rectangle of (..., H, W)."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def paste(self, image: Tensor, part: Tensor) -> None:
        """Write the rectangle of an image the caller owns."""
        image[..., self.top : self.bottom, self.left : self.right] = part

    def grown(self, margin: int, height: int, width: int) -> Window:
        """The same rectangle with a margin on all sides, inside a picture of height x width."""
        low = max(0, self.top - margin), max(0, self.left - margin)
        return Window(low[0], min(height, self.bottom + margin), low[1], min(width, self.right + margin))

    def common(self, other: Window) -> Window:
        """What two rectangles share; empty (no rows, no columns) where they do not meet."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        return Window(top, max(top, min(self.bottom, other.bottom)), left, max(left, min(self.right, other.right)))

    def scaled(self, divisor: int) -> Window:
        """The same rectangle on a grid that is ``divisor`` times coarser."""
        return Window(self.top // divisor, self.bottom // divisor, self.left // divisor, self.right // divisor)

    def enlarged(self, factor: int) -> Window:
        """The same rectangle on a grid that is ``factor`` times finer."""
        return Window(self.top * factor, self.bottom * factor, self.left * factor, self.right * factor)


def bounding_window(wanted: Tensor, step: int = 1) -> Window:
    """The smallest rectangle on multiples of ``step`` around the entries of (H, W) bool that are true; empty where none is."""
    marks = wanted.cpu().numpy()  # far faster at this than torch
    rows, columns = (np.flatnonzero(marks.any(axis=d)) for d in (1, 0))
    if len(rows) == 0:
        return Window(0, 0, 0, 0)
    low = [int(place[0]) // step * step for place in (rows, columns)]
    high = [-(-(int(place[-1]) + 1) // step) * step for place in (rows, columns)]
    return Window(low[0], high[0], low[1], high[1])


@dataclass(frozen=True, eq=False)
class Surface:
    """One drawn mesh. vertex (H, W, 3) int32; weight (H, W, 3) float32, 0 where nothing; mesh, face, cavity (H, W) bool; depth (H, W).

    ``mesh`` is drawn at all, ``face`` is drawn by a triangle that is not skirt, ``cavity`` shows the inside of the mouth; depth is
    larger when nearer, -inf where nothing.
    """

    vertex: Tensor
    weight: Tensor
    mesh: Tensor
    face: Tensor
    cavity: Tensor
    depth: Tensor

    def interpolate(self, values: Tensor, window: Window | None = None) -> Tensor:
        """Read vertex values (V, K) at every pixel: (K, H, W), 0 where nothing is drawn."""
        vertex, weight = self.vertex, self.weight
        if window is not None:
            vertex, weight = (x[window.top : window.bottom, window.left : window.right] for x in (vertex, weight))
        height, width = vertex.shape[:2]
        rows = F.embedding_bag(vertex.reshape(-1, 3), values, mode="sum", per_sample_weights=weight.reshape(-1, 3))
        return rearrange(rows, "(h w) k -> k h w", h=height, w=width)  # channels last in memory


def draw_surface(points: Tensor, face_model: FaceModel, size: int) -> list[Surface]:
    """Draw meshes with cavity, its walls and skirt: points (B, V, 3) in crop pixels to B surfaces of size x size pixels."""
    walls = cavity_walls(face_model).triangles
    triangles = torch.cat([face_model.triangles, walls])
    triangle, barycentric, depth = rasterize(points, triangles, (size, size))
    drawn = triangle >= 0  # (B, H, W)
    index = triangle.clamp_min(0).flatten()
    vertex = triangles.int().index_select(0, index).view(*triangle.shape, 3)
    weight = rearrange(barycentric, "b k h w -> b h w k").contiguous()  # a view as the rasteriser lays it out; 0 where nothing is drawn
    inside = face_model.region == int(Region.MOUTH_CAVITY)
    face, cavity = (
        drawn & torch.cat([kind, drawn.new_ones(len(walls))]).index_select(0, index).view(triangle.shape)
        for kind in (drawn_triangles(face_model), inside)
    )
    return [Surface(vertex[b], weight[b], drawn[b], face[b], cavity[b], depth[b]) for b in range(len(points))]


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """(2, H, W) x and y of the pixel centres; the first is 0.5."""
    y, x = torch.meshgrid(torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij")
    return torch.stack([x, y])


def corresponding_positions(surface: Surface, points: Tensor, seen: Tensor, window: Window | None = None) -> tuple[Tensor, Tensor]:
    """Positions in N references of the skin that each target pixel shows.

    Args:
        surface: the drawn target.
        points:  (N, V, 3) vertices of the references in crop pixels.
        seen:    (N, V) in [0, 1], how well each reference saw each vertex.
        window:  pixels wanted; None for all.
    Returns:
        positions (N, 2, H, W) in crop pixels, the pixel's own place where no mesh is drawn; seen (N, H, W), 1 there.
    """
    values = torch.cat([points[..., :2], seen[..., None]], dim=-1)  # (N, V, 3)
    read = surface.interpolate(rearrange(values, "n v k -> v (k n)"), window).contiguous()
    read = rearrange(read, "(k n) h w -> k n h w", k=3)  # every plane whole in memory
    size = surface.mesh.shape
    own = pixel_centres(*size, device=points.device)
    mesh = surface.mesh
    if window is not None:
        own, mesh = window.cut(own), window.cut(mesh)
    empty = (~mesh).to(read.dtype)  # there the mesh reads 0
    read = read + torch.cat([own * empty, empty[None]])[:, None]
    return rearrange(read[:2], "k n h w -> n k h w"), read[2]


def sample_at(images: Tensor, positions: Tensor, scale: float = 1.0, mode: str = "bilinear") -> Tensor:
    """Read images (N, C, H, W) at positions (N, 2, h, w) in pixels of an image ``1 / scale`` times as large."""
    grid = sampling_grid(images, positions, scale)
    return F.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)


def sampling_grid(images: Tensor, positions: Tensor, scale: float = 1.0) -> Tensor:
    """Positions (N, 2, h, w) as torch counts them, (N, h, w, 2): -1 and 1 are the borders of the images."""
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], device=images.device, dtype=positions.dtype)
    return (rearrange(positions, "n k h w -> n h w k") * (2.0 * scale / size) - 1.0).to(images.dtype)


def sample_rows(images: Tensor, rows: Sequence[int], positions: Tensor, scale: float = 1.0) -> Tensor:
    """:func:`sample_at` for images (M, C, H, W) of which only some rows are read, at positions (len(rows), 2, h, w).

    The four neighbours of every place are summed as rows of one table, in which all channels of a pixel lie together (memory
    format channels last): faster where channels are many and places few. Half precision goes the other way.
    """
    if images.dtype != torch.float32:
        return sample_at(images[list(rows)], positions, scale)
    height, width = images.shape[-2:]
    place = positions.float() * scale - 0.5  # the first pixel's centre is 0
    x, y = place[:, 0].clamp(0, width - 1), place[:, 1].clamp(0, height - 1)  # (n, h, w)
    left, top = x.floor().clamp_max(max(width - 2, 0)), y.floor().clamp_max(max(height - 2, 0))
    x, y = x - left, y - top
    share = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)  # (n, h, w, 4)
    image = torch.tensor(list(rows), device=images.device)[:, None, None] * (height * width)
    corner = image + (top * width + left).long()
    right, down = min(1, width - 1), width * min(1, height - 1)
    index = torch.stack([corner, corner + right, corner + down, corner + down + right], dim=-1)
    table = rearrange(images, "m c h w -> (m h w) c")
    read = F.embedding_bag(index.view(-1, 4), table, mode="sum", per_sample_weights=share.view(-1, 4))
    return rearrange(read, "(n h w) c -> n c h w", n=len(rows), h=positions.shape[-2])
