"""Batched triangle rasteriser with a z-buffer: which triangle covers each pixel centre, where in it, and how near.

Vertices are snapped to 1/256 pixel, so that coverage is exact integer arithmetic: a pixel belongs to a triangle when its
centre (x + 0.5, y + 0.5) lies inside, or on a top or left edge; two triangles that share an edge neither overlap nor
leave a gap. Both orientations are drawn. The nearest triangle wins; of equally near ones the first in the list. Rows of
triangles become spans, spans become pixels, all as flat tensors: nothing loops over triangles, and a GPU runs the same
lines. Not differentiable. Knows nothing of faces.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from ..checks import check_finite, check_shape
from ..errors import ShapeError

SUBPIXELS = 256  # snapping grid: vertices move by at most 1/512 px
DEPTH_STEPS = 4096  # depth is compared in steps of 1/4096 px
MAX_COORDINATE = 1 << 17  # pixels; beyond it integer products could overflow
FRAMES_AT_ONCE = 4  # more would leave the processor's caches
PIXELS_AT_ONCE = FRAMES_AT_ONCE * 256 * 256


def rasterize(points: Tensor, triangles: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Draw triangles into a z-buffer.

    Paper: 3.1 (PNCC needs a z-buffer; Zhu et al. 2017).
    Args:
        points:    (T, V, 3) x, y, depth in pixels; the centre of the top-left pixel is (0.5, 0.5), larger depth is nearer.
        triangles: (F, 3) int64 vertex ids.
        size:      (height, width), each >= 1.
    Returns:
        triangle (T, H, W) int64, -1 where nothing; barycentric (T, 3, H, W) float32, 0 where nothing;
        depth (T, H, W) float32, -inf where nothing.
    Raises:
        ShapeError: wrong shapes, non-finite or absurdly far points, or an empty size.
    """
    frames = check_shape("points", points, "T", "V", 3)["T"]
    check_shape("triangles", triangles, "F", 3)
    check_finite("points", points)
    height, width = size
    if height < 1 or width < 1:
        raise ShapeError(f"raster size is {size} but expected a height and width of at least 1.")
    if points.numel() and float(points.abs().max()) > MAX_COORDINATE:
        raise ShapeError(f"points reach {float(points.abs().max()):.0f} pixels but expected at most {MAX_COORDINATE}; the pose is broken.")
    step = max(1, PIXELS_AT_ONCE // (height * width))
    chunks = [_rasterize_chunk(points[start : start + step], triangles, height, width) for start in range(0, frames, step)]
    if not chunks:
        empty = points.new_zeros((0, height, width))
        return empty.long(), points.new_zeros((0, 3, height, width)), empty
    return tuple(torch.cat(parts) for parts in zip(*chunks, strict=True))


def _rasterize_chunk(points: Tensor, triangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    frames, count = len(points), len(triangles)
    x, y, plane, first, turned = _prepare(points, triangles)  # each over the T*F triangles
    row_owner, row = _rows(y, height)
    left, right = _spans(x, y, row_owner, row, width)
    keep = (right >= left).nonzero()[:, 0]
    row_owner, row, left, length = row_owner[keep], row[keep], left[keep], (right - left + 1)[keep]

    # Each span is a run of pixels of one frame: everything a pixel needs is affine in its column.
    slope, by_row, constant = plane.index_select(1, row_owner)
    constant = by_row * (row + 0.5) + constant  # (spans,)
    frame, face = row_owner // count, row_owner % count
    pixel_start = (frame * height + row) * width
    span = torch.repeat_interleave(torch.arange(len(length), device=points.device), length)  # (pixels,)
    run_start = torch.cumsum(length, 0) - length
    column = torch.arange(len(span), device=points.device) + (left - run_start).index_select(0, span)
    depth = slope.index_select(0, span).mul_(column + 0.5).add_(constant.index_select(0, span))
    key = depth.mul_(DEPTH_STEPS).floor_().long().mul_(count).add_((count - 1 - face).index_select(0, span))
    nothing = torch.iinfo(torch.int64).min
    buffer = torch.full((frames * height * width,), nothing, dtype=torch.int64, device=points.device)
    buffer.scatter_reduce_(0, pixel_start.index_select(0, span) + column, key, "amax", include_self=True)

    covered = (buffer != nothing).nonzero()[:, 0]
    winner = count - 1 - torch.remainder(buffer[covered], count)  # (covered,) triangle id
    owner = covered // (height * width) * count + winner
    triangle = torch.full_like(buffer, -1)
    triangle[covered] = winner
    weights, depth_there = _at_pixels(covered, owner, first, turned, plane, height, width)
    barycentric = points.new_zeros((3, len(buffer)), dtype=torch.float32)
    barycentric[:, covered] = weights
    nearness = torch.full((len(buffer),), -torch.inf, dtype=torch.float32, device=points.device)
    nearness[covered] = depth_there
    shape = {"t": frames, "h": height, "w": width}
    return (rearrange(triangle, "(t h w) -> t h w", **shape), rearrange(barycentric, "k (t h w) -> t k h w", **shape),
            rearrange(nearness, "(t h w) -> t h w", **shape))  # fmt: skip


def _prepare(points: Tensor, triangles: Tensor):
    """Snap, turn every triangle the same way round, and find depth and barycentrics as affine functions of the pixel.

    Returns x, y (3, N) int64; plane (3, N) float64: depth = plane . (px, py, 1); first: the affine functions of the
    weights of the (turned) second and third vertex, (6, N) float64; turned (N,): those whose last two vertices were swapped.
    Triangles without area get empty bounding rows by moving them out of the picture.
    """
    snapped = torch.round(points[..., :2].double() * SUBPIXELS).long()
    corners = rearrange(snapped[:, triangles], "t f k c -> c k (t f)")
    depth = rearrange(points[..., 2].double()[:, triangles], "t f k -> k (t f)")
    x, y = corners
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    turned = area < 0
    x, y = (torch.stack([v[0], torch.where(turned, v[2], v[1]), torch.where(turned, v[1], v[2])]) for v in (x, y))
    z0, z1, z2 = depth[0], torch.where(turned, depth[2], depth[1]), torch.where(turned, depth[1], depth[2])
    flat = area == 0
    y = torch.where(flat, torch.full_like(y, -MAX_COORDINATE * SUBPIXELS), y)
    fx, fy = x.double() / SUBPIXELS, y.double() / SUBPIXELS
    inverse = torch.where(flat, torch.zeros_like(z0), SUBPIXELS * SUBPIXELS / area.abs().clamp_min(1).double())
    # weight of vertex 1 grows from edge 2->0, that of vertex 2 from edge 0->1
    ax, ay, bx, by = fx[2] - fx[0], fy[2] - fy[0], fx[1] - fx[0], fy[1] - fy[0]
    first = torch.stack([ay, -ax, ax * fy[0] - ay * fx[0], -by, bx, by * fx[0] - bx * fy[0]]) * inverse
    plane = first[:3] * (z1 - z0) + first[3:] * (z2 - z0)
    plane[2] += z0
    return x, y, plane, first, turned


def _rows(y: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Every (triangle, pixel row) whose row of centres the triangle can touch: owner (R,), row (R,)."""
    half = SUBPIXELS // 2
    top = torch.div(y.amin(0) - half + SUBPIXELS - 1, SUBPIXELS, rounding_mode="floor").clamp_min(0)
    bottom = torch.div(y.amax(0) - half, SUBPIXELS, rounding_mode="floor").clamp_max(height - 1)
    count = (bottom - top + 1).clamp_min(0)
    owner = torch.repeat_interleave(torch.arange(len(top), device=y.device), count)
    row = torch.arange(len(owner), device=y.device) - (torch.cumsum(count, 0) - count - top)[owner]
    return owner, row


def _spans(x: Tensor, y: Tensor, owner: Tensor, row: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last column inside each (triangle, row), inclusive; last < first where none."""
    half = SUBPIXELS // 2
    centre_y = row * SUBPIXELS + half
    left, right = torch.zeros_like(row), torch.full_like(row, width - 1)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        dx, dy = (x[b] - x[a])[owner], (y[b] - y[a])[owner]
        inclusive = (dy < 0) | ((dy == 0) & (dx > 0))  # left and top edges own their pixels
        # inside: value - dy * px >= 0, with px = column * SUBPIXELS + half
        value = dx * (centre_y - y[a][owner]) + dy * x[a][owner] - dy * half - (~inclusive).long()
        slope = torch.where(dy == 0, torch.ones_like(dy), dy.abs()) * SUBPIXELS
        column = torch.div(torch.where(dy < 0, -value, value), slope, rounding_mode="floor")
        right = torch.where(dy > 0, torch.minimum(right, column), right)
        # dy < 0: column >= value / (dy * SUBPIXELS), that is ceil(-value / slope)
        left = torch.where(dy < 0, torch.maximum(left, -torch.div(value, slope, rounding_mode="floor")), left)
        right = torch.where((dy == 0) & (value < 0), torch.full_like(right, -1), right)
    return left, right


def _at_pixels(covered, owner, first, turned, plane, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Barycentric weights (3, N) float32 in the triangle's own vertex order, and depth (N,), at the covered pixels."""
    px = (covered % width).double() + 0.5
    py = (covered // width % height).double() + 0.5
    functions = torch.cat([first, plane])[:, owner]  # (9, N)
    second = functions[0] * px + functions[1] * py + functions[2]
    third = functions[3] * px + functions[4] * py + functions[5]
    depth = functions[6] * px + functions[7] * py + functions[8]
    swap = turned[owner]
    second, third = torch.where(swap, third, second), torch.where(swap, second, third)
    return torch.stack([1 - second - third, second, third]).float(), depth.float()
