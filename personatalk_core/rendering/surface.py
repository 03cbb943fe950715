"""Where each target pixel's piece of skin lies in each reference, to a fraction of a pixel, through the mesh.

A drawn mesh names, for every pixel, three vertices and their weights. Any quantity given on vertices (a
colour, a reference's image position, whether the reference saw it) can then be read at every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ..geometry.face_model import FaceModel, Region
from ..geometry.rasterizer import rasterize
from ..geometry.topology import cavity_walls
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
        return Window(
            top, max(top, min(self.bottom, other.bottom)), left, max(left, min(self.right, other.right))
        )

    def scaled(self, divisor: int) -> Window:
        """The same rectangle on a grid that is ``divisor`` times coarser."""
        return Window(
            self.top // divisor, self.bottom // divisor, self.left // divisor, self.right // divisor
        )

    def enlarged(self, factor: int) -> Window:
        """The same rectangle on a grid that is ``factor`` times finer."""
        return Window(self.top * factor, self.bottom * factor, self.left * factor, self.right * factor)


def bounding_window(wanted: Tensor, step: int = 1) -> Window:
    """The smallest rectangle on multiples of ``step`` around the entries of (..., H, W) bool that are true;
    empty where none is."""
    height, width = wanted.shape[-2:]
    flat = wanted.reshape(-1, height, width)
    marks = torch.cat([flat.any(dim=2).any(dim=0), flat.any(dim=1).any(dim=0)]).cpu().numpy()
    rows, columns = (np.flatnonzero(part) for part in (marks[:height], marks[height:]))
    if len(rows) == 0:
        return Window(0, 0, 0, 0)
    low = [int(place[0]) // step * step for place in (rows, columns)]
    high = [-(-(int(place[-1]) + 1) // step) * step for place in (rows, columns)]
    return Window(low[0], high[0], low[1], high[1])


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

    def interpolate(self, values: Tensor, window: Window | None = None) -> Tensor:
        """Read vertex values, (V, K) or each mesh's own (*, V, K), at every pixel: (*, K, H, W), 0 where
        nothing is drawn."""
        vertex, weight = self.vertex, self.weight
        if window is not None:
            vertex, weight = (
                x[..., window.top : window.bottom, window.left : window.right, :] for x in (vertex, weight)
            )
        *meshes, height, width, _ = vertex.shape
        if values.ndim > 2:  # as one table
            first = torch.arange(len(values), dtype=vertex.dtype, device=vertex.device) * values.shape[1]
            vertex, values = vertex + first[:, None, None, None], values.flatten(0, 1)
        rows = F.embedding_bag(
            vertex.reshape(-1, 3), values, mode="sum", per_sample_weights=weight.reshape(-1, 3)
        )
        return rearrange(
            rows.view(*meshes, height, width, -1), "... h w k -> ... k h w"
        )  # channels last in memory


def draw_surface(points: Tensor, face_model: FaceModel, size: int) -> Surface:
    """Draw meshes with cavity, its walls and skirt: points (B, V, 3) in crop pixels to B surfaces of size x
    size pixels."""
    window = _reached(points, size)
    corner = points.new_tensor([window.left, window.top, 0.0])
    drawn = _draw(points - corner, face_model, window.size)  # in the rectangle that any mesh reaches
    if window.size == (size, size):
        return drawn
    whole = {}
    for name, nothing in {
        "vertex": 0,
        "weight": 0,
        "mesh": False,
        "face": False,
        "cavity": False,
        "depth": -torch.inf,
    }.items():
        part = getattr(drawn, name)  # (B, h, w) or (B, h, w, 3)
        whole[name] = part.new_full((len(part), size, size, *part.shape[3:]), nothing)
        whole[name][:, window.top : window.bottom, window.left : window.right] = part
    return Surface(**whole)


def _reached(points: Tensor, size: int) -> Window:
    """The pixels that meshes can cover, at least one."""
    if not len(points):
        return Window(0, size, 0, size)
    places = points[..., :2].flatten(0, 1)
    (left, top), (right, bottom) = (
        torch.stack([places.amin(dim=0), places.amax(dim=0)]).clamp(0, size).tolist()
    )
    top, left = (min(math.floor(edge), size - 1) for edge in (top, left))
    return Window(top, max(top + 1, math.ceil(bottom)), left, max(left + 1, math.ceil(right)))


def _draw(points: Tensor, face_model: FaceModel, size: tuple[int, int]) -> Surface:
    walls = cavity_walls(face_model).triangles
    triangles = torch.cat([face_model.triangles, walls])
    triangle, barycentric, depth = rasterize(points, triangles, size)
    drawn = triangle >= 0  # (B, H, W)
    index = triangle.clamp_min(0).flatten()
    vertex = triangles.int().index_select(0, index).view(*triangle.shape, 3)
    weight = _side_by_side(barycentric)  # 0 where nothing is drawn
    inside = face_model.region == int(Region.MOUTH_CAVITY)
    face, cavity = (
        drawn & torch.cat([kind, drawn.new_ones(len(walls))]).index_select(0, index).view(triangle.shape)
        for kind in (drawn_triangles(face_model), inside)
    )
    return Surface(vertex, weight, drawn, face, cavity, depth)


def _side_by_side(planes: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, H, W, 3); OpenCV is ten times as fast at this."""
    if planes.device.type != "cpu":
        return rearrange(planes, "b k h w -> b h w k").contiguous()
    together = np.empty((len(planes), *planes.shape[-2:], 3), np.float32)
    for one, picture in zip(planes.numpy(), together, strict=True):
        cv2.merge(list(one), dst=picture)
    return torch.from_numpy(together)


def _planes(images: Tensor) -> Tensor:
    """(..., K, h, w), every plane whole in memory; where they lie pixel by pixel, OpenCV is several times as
    fast at this."""
    if (
        images.device.type != "cpu"
        or images.dtype != torch.float32
        or images.requires_grad
        or min(images.shape) == 0
    ):
        return images.contiguous()
    pixels = rearrange(images, "... k h w -> ... (h w) k").reshape(
        -1, images.shape[-2] * images.shape[-1], images.shape[-3]
    )
    planes = np.empty((len(pixels), *pixels.shape[:0:-1]), np.float32)  # (M, K, h w)
    for one, out in zip(pixels.numpy(), planes, strict=True):
        cv2.transpose(one, dst=out)
    return torch.from_numpy(planes).view(images.shape)


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """(2, H, W) x and y of the pixel centres; the first is 0.5."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    return torch.stack([x, y])


def corresponding_positions(
    surface: Surface, points: Tensor, seen: Tensor, window: Window | None = None
) -> tuple[Tensor, Tensor]:
    """Positions in N references of the skin that each target pixel shows.

    Args:
        surface: the drawn targets; * is B, or nothing for a single one.
        points:  (*, N, V, 3) vertices of each target's references in crop pixels.
        seen:    (*, N, V) in [0, 1], how well each reference saw each vertex.
        window:  pixels wanted; None for all.
    Returns:
        positions (*, N, 2, H, W) in crop pixels, the pixel's own place where no mesh is drawn; seen (*, N, H,
        W), 1 there.
    """
    values = torch.cat([points[..., :2], seen[..., None]], dim=-1)  # (*, N, V, 3)
    read = _planes(surface.interpolate(rearrange(values, "... n v k -> ... v (k n)"), window))
    read = rearrange(read, "... (k n) h w -> k ... n h w", k=3)
    own = pixel_centres(*surface.mesh.shape[-2:], device=points.device)  # (2, H, W)
    mesh = surface.mesh
    if window is not None:
        own, mesh = window.cut(own), window.cut(mesh)
    empty = (~mesh).to(read.dtype)  # there the mesh reads 0
    read = read + torch.stack([own[0] * empty, own[1] * empty, empty]).unsqueeze(-3)
    return rearrange(read[:2], "k ... h w -> ... k h w"), read[2]


def sample_at(images: Tensor, positions: Tensor, mode: str = "bilinear") -> Tensor:
    """Read images (N, C, H, W) at positions (N, 2, h, w) in their pixels; the centre of the first is 0.5."""
    height, width = images.shape[-2:]
    size = torch.tensor([width, height], device=images.device, dtype=positions.dtype)
    grid = (
        rearrange(positions, "n k h w -> n h w k") * (2.0 / size) - 1.0
    )  # as torch counts: -1 and 1 are the borders
    return F.grid_sample(images, grid.to(images.dtype), mode=mode, padding_mode="border", align_corners=False)


def sample_rows(
    groups: Sequence[Tensor], rows: Tensor, positions: Tensor, scale: float = 1.0
) -> list[Tensor]:
    """:func:`sample_at` for groups of M images (M, C, H, W), of one size, read at positions (n, 2, h, w) of
    some rows, (n,) int64.

    scale: positions are in pixels of images ``1 / scale`` times as large.

    The four neighbours of every place are summed as rows of one table, in which all channels of a pixel lie
    together (memory format channels last): faster where channels are many and places few.
    """
    height, width = groups[0].shape[-2:]
    place = positions.float() * scale - 0.5  # the first pixel's centre is 0
    x, y = place[:, 0].clamp(0, width - 1), place[:, 1].clamp(0, height - 1)  # (n, h, w)
    left, top = x.floor().clamp_max(max(width - 2, 0)), y.floor().clamp_max(max(height - 2, 0))
    x, y = x - left, y - top
    share = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)  # (n, h, w, 4)
    corner = rows[:, None, None] * (height * width) + (top * width + left).long()
    right, down = min(1, width - 1), width * min(1, height - 1)
    index = torch.stack([corner, corner + right, corner + down, corner + down + right], dim=-1)
    tables = (rearrange(images, "m c h w -> (m h w) c") for images in groups)
    read = (
        F.embedding_bag(index.view(-1, 4), table, mode="sum", per_sample_weights=share.view(-1, 4))
        for table in tables
    )
    return [rearrange(part, "(n h w) c -> n c h w", n=len(rows), h=positions.shape[-2]) for part in read]
