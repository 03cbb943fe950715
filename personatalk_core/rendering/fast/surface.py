"""The fast twin of ``surface.py``: only rectangles are read, and OpenCV lays pixels out anew."""

from __future__ import annotations

from dataclasses import fields

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from ...geometry.face_model import FaceModel, Region
from ...geometry.rasterizer import rasterize
from ...geometry.topology import cavity_walls
from ..regions import drawn_triangles
from ..surface import Surface, geometry_values, pixel_centres, reached_rectangle, read_vertices
from .window import Window, bounding_window

BACKGROUND = {"vertex": 0, "weight": 0, "mesh": False, "face": False, "cavity": False, "depth": -torch.inf}


def draw_surface(points: Tensor, face_model: FaceModel, size: int) -> Surface:
    """As ``surface.draw_surface``: points (B, V, 3) in crop pixels to B surfaces of size x size pixels."""
    window = Window(*reached_rectangle(points, size))
    corner = points.new_tensor([window.left, window.top, 0.0])
    drawn = _draw(points - corner, face_model, window.size)
    if window.size == (size, size):
        return drawn
    placed = {}
    for f in fields(Surface):
        values = getattr(drawn, f.name)  # (B, h, w) or (B, h, w, 3)
        placed[f.name] = values.new_full((len(values), size, size, *values.shape[3:]), BACKGROUND[f.name])
        placed[f.name][:, window.top : window.bottom, window.left : window.right] = values
    return Surface(**placed)


def _draw(points: Tensor, face_model: FaceModel, size: tuple[int, int]) -> Surface:
    walls = cavity_walls(face_model).triangles
    triangles = torch.cat([face_model.triangles, walls])
    triangle, barycentric, depth = rasterize(points, triangles, size)
    drawn = triangle >= 0  # (B, H, W)
    index = triangle.clamp_min(0).flatten()
    vertex = triangles.int().index_select(0, index).view(*triangle.shape, 3)
    inside, of_walls = face_model.region == int(Region.MOUTH_CAVITY), drawn.new_ones(len(walls))
    face, cavity = (
        drawn & torch.cat([kind, of_walls]).index_select(0, index).view(triangle.shape)
        for kind in (drawn_triangles(face_model), inside)
    )
    return Surface(vertex, _interleaved(barycentric), drawn, face, cavity, depth)


def interpolate(surface: Surface, values: Tensor, window: Window | None = None) -> Tensor:
    """As ``surface.interpolate``, inside a window: (*, K, h, w)."""
    vertex, weight = surface.vertex, surface.weight
    if window is not None:
        vertex, weight = (
            x[..., window.top : window.bottom, window.left : window.right, :] for x in (vertex, weight)
        )
    return read_vertices(vertex, weight, values)


def geometry_map(surface: Surface, face_model: FaceModel) -> Tensor:
    """As ``surface.geometry_map``: only the rectangle around the faces is read."""
    values, window = geometry_values(face_model), bounding_window(surface.face)
    picture = rearrange(values.new_zeros(*surface.face.shape, 4), "... h w k -> ... k h w")
    window.paste(picture, interpolate(surface, values, window) * window.cut(surface.face).unsqueeze(-3))
    return picture


def corresponding_positions(
    surface: Surface, points: Tensor, visibility: Tensor, window: Window | None = None
) -> tuple[Tensor, Tensor]:
    """As ``surface.corresponding_positions``, inside a window."""
    values = torch.cat([points[..., :2], visibility[..., None]], dim=-1)  # (*, N, V, 3)
    read = planes(interpolate(surface, rearrange(values, "... n v k -> ... v (k n)"), window))
    read = rearrange(read, "... (k n) h w -> k ... n h w", k=3)
    place = pixel_centres(*surface.mesh.shape[-2:], device=points.device)  # (2, H, W)
    mesh = surface.mesh
    if window is not None:
        place, mesh = window.cut(place), window.cut(mesh)
    empty = (~mesh).to(read.dtype)  # there the mesh reads 0
    read = read + torch.stack([place[0] * empty, place[1] * empty, empty]).unsqueeze(-3)
    return rearrange(read[:2], "k ... h w -> ... k h w"), read[2]


def _interleaved(images: Tensor) -> Tensor:
    """(B, 3, H, W) to (B, H, W, 3); OpenCV is ten times as fast at this."""
    if images.device.type != "cpu":
        return rearrange(images, "b k h w -> b h w k").contiguous()
    pixels = np.empty((len(images), *images.shape[-2:], 3), np.float32)
    for image, out in zip(images.numpy(), pixels, strict=True):
        cv2.merge(list(image), dst=out)
    return torch.from_numpy(pixels)


def planes(images: Tensor) -> Tensor:
    """(..., K, h, w) with every channel whole in memory; where pixels lie side by side, OpenCV is several
    times as fast at this as ``contiguous``."""
    plain = images.device.type == "cpu" and images.dtype == torch.float32 and not images.requires_grad
    if not plain or min(images.shape) == 0:
        return images.contiguous()
    channels_count, height, width = images.shape[-3:]
    pixels = rearrange(images, "... k h w -> ... (h w) k").reshape(-1, height * width, channels_count)
    channels = np.empty((len(pixels), *pixels.shape[:0:-1]), np.float32)  # (M, K, h w)
    for image, out in zip(pixels.numpy(), channels, strict=True):
        cv2.transpose(image, dst=out)
    return torch.from_numpy(channels).view(images.shape)
