"""Batched triangle rasteriser with a z-buffer: which triangle covers each pixel centre, where in it, and how
near.

Vertices are snapped to 1/256 pixel, so that coverage is exact integer arithmetic: a pixel belongs to a
triangle when its centre (x + 0.5, y + 0.5) lies inside, or on a top or left edge; two triangles that share an
edge neither overlap nor leave a gap. Both orientations are drawn. The nearest triangle wins; of equally near
ones the first in the list. Rows of triangles become spans, spans become pixels, all as flat tensors: nothing
loops over triangles, and a GPU runs the same lines. Not differentiable. Knows nothing of faces.
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
        points:    (T, V, 3) x, y, depth in pixels; the centre of the top-left pixel is (0.5, 0.5), larger
            depth is nearer.
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
    if points.device.type == "mps":  # which knows no double precision
        triangle, barycentric, depth = rasterize(points.cpu(), triangles.cpu(), size)
        return triangle.to(points.device), barycentric.to(points.device), depth.to(points.device)
    check_finite("points", points)
    height, width = size
    if height < 1 or width < 1:
        raise ShapeError(f"raster size is {size} but expected a height and width of at least 1.")
    if points.numel() and float(points.abs().max()) > MAX_COORDINATE:
        raise ShapeError(
            f"points reach {float(points.abs().max()):.0f} pixels but expected at most {MAX_COORDINATE}; "
            "the pose is broken."
        )
    step = max(1, PIXELS_AT_ONCE // (height * width))
    chunks = [
        _rasterize_chunk(points[start : start + step], triangles, height, width)
        for start in range(0, frames, step)
    ]
    if not chunks:
        empty = points.new_zeros((0, height, width))
        return empty.long(), points.new_zeros((0, 3, height, width)), empty
    triangle, barycentric, depth = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return triangle, barycentric, depth


def _rasterize_chunk(
    points: Tensor, triangles: Tensor, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    frames, count = len(points), len(triangles)
    edges, plane, corner, low, high = _prepare(points, triangles)  # each over the T*F triangles
    row_owner, row = _rows(low, high, height)
    left, right = _spans(edges, row_owner, row, width)
    keep = (right >= left).nonzero()[:, 0]
    row_owner, row, left, right = (x.index_select(0, keep) for x in (row_owner, row, left, right))

    # Each span is a run of pixels of one frame: everything a pixel needs is affine in its column.
    length = right - left + 1
    slope, by_row, constant = (part.index_select(0, row_owner) for part in plane)
    constant = by_row * (row + 0.5) + constant  # (spans,)
    frame, face = row_owner // count, row_owner % count
    run_start = torch.cumsum(length, 0) - length
    span = torch.repeat_interleave(torch.arange(len(length), device=points.device), length)  # (pixels,)
    column = torch.arange(len(span), device=points.device) + (left - run_start).index_select(0, span)
    depth = slope.index_select(0, span).mul_(column + 0.5).add_(constant.index_select(0, span))
    # the triangle's number lies in the last ones: of equal depths the first in the list is the largest
    bits = count.bit_length()
    key = (
        depth.mul_(DEPTH_STEPS)
        .floor_()
        .long()
        .bitwise_left_shift_(bits)
        .add_((count - 1 - face).index_select(0, span))
    )
    nothing = torch.iinfo(torch.int64).min
    buffer = torch.full((frames * height * width,), nothing, dtype=torch.int64, device=points.device)
    pixel = ((frame * height + row) * width).index_select(0, span).add_(column)
    buffer.scatter_reduce_(0, pixel, key, "amax", include_self=True)

    covered = buffer != nothing
    winner = count - 1 - (buffer & ((1 << bits) - 1))  # triangle id of each covered pixel
    number = winner.view(frames, -1) + count * torch.arange(frames, device=points.device)[:, None]
    number = torch.where(covered, number.flatten(), frames * count)  # the last column of corner is nothing
    barycentric, depth = _at_pixels(number, corner, frames, height, width)
    triangle = torch.where(covered, winner, -1).view(frames, height, width)
    return triangle, rearrange(barycentric, "k t h w -> t k h w"), depth


def _prepare(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Snap, turn every triangle the same way round, and find what is affine in the pixel.

    Returns:
        edges (9, N) int64: dx, dy and a constant of each edge, for :func:`_spans`. plane (3, N) float64:
        coefficients of (px, py, 1) of the depth. corner (10, N + 1) float32: place of the first vertex;
        coefficients of the way from there, (dx, dy), of the weight of the second and of the third vertex, as
        the triangle names them; depth of the first vertex, and what it is less than that of the other two; 1.
        The last column is what is seen where no triangle is: weights 0, depth -inf. low, high (N,) int64: the
        snapped rows the triangle reaches. Triangles without area lie outside the picture.
    """
    snapped = torch.round(points[..., :2].double() * SUBPIXELS).long()
    x, y = rearrange(snapped[:, triangles], "t f k c -> c k (t f)").contiguous()  # (3, N) each
    depth = rearrange(points[..., 2].double()[:, triangles], "t f k -> k (t f)")
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    turned, flat = area < 0, area == 0
    x, y = (
        torch.stack([v[0], torch.where(turned, v[2], v[1]), torch.where(turned, v[1], v[2])]) for v in (x, y)
    )
    z0, z1, z2 = depth[0], torch.where(turned, depth[2], depth[1]), torch.where(turned, depth[1], depth[2])
    y = torch.where(flat, torch.full_like(y, -MAX_COORDINATE * SUBPIXELS), y)
    fx, fy = x.double() / SUBPIXELS, y.double() / SUBPIXELS
    inverse = torch.where(
        flat, torch.zeros_like(z0), SUBPIXELS * SUBPIXELS / area.abs().clamp_min(1).double()
    )
    # weight of vertex 1 grows from edge 2->0, that of vertex 2 from edge 0->1; both are 0 at vertex 0
    second = torch.stack([fy[2] - fy[0], fx[0] - fx[2]]) * inverse
    third = torch.stack([fy[0] - fy[1], fx[1] - fx[0]]) * inverse
    slope = second * (z1 - z0) + third * (z2 - z0)
    plane = torch.stack([slope[0], slope[1], z0 - slope[0] * fx[0] - slope[1] * fy[0]])
    second, third = torch.where(turned, third, second), torch.where(turned, second, third)
    corner = torch.stack(
        [
            fx[0],
            fy[0],
            *second,
            *third,
            depth[0],
            depth[1] - depth[0],
            depth[2] - depth[0],
            torch.ones_like(z0),
        ]
    ).float()
    nothing = corner.new_tensor([[0], [0], [0], [0], [0], [0], [-torch.inf], [0], [0], [0]])
    corner = torch.cat([corner, nothing], dim=1)
    low, high = (
        torch.minimum(torch.minimum(y[0], y[1]), y[2]),
        torch.maximum(torch.maximum(y[0], y[1]), y[2]),
    )
    return _edges(x, y), plane, corner, low, high


def _edges(x: Tensor, y: Tensor) -> Tensor:
    """Of each edge a -> b: dx, dy and c, so that a pixel centre (px, py) is inside when dx * py - dy * px +
    c' >= 0: (9, N) int64.

    c holds what does not depend on the pixel's row, with px = column * SUBPIXELS + SUBPIXELS / 2; edges that
    do not own the pixels on them lose them by the last 1.
    """
    rows = []
    for a, b in ((0, 1), (1, 2), (2, 0)):
        dx, dy = x[b] - x[a], y[b] - y[a]
        inclusive = (dy < 0) | ((dy == 0) & (dx > 0))  # left and top edges own their pixels
        rows += [dx, dy, dy * x[a] - dx * y[a] - dy * (SUBPIXELS // 2) - (~inclusive).long()]
    return torch.stack(rows)


def _rows(low: Tensor, high: Tensor, height: int) -> tuple[Tensor, Tensor]:
    """Every (triangle, pixel row) whose row of centres the triangle can touch: owner (R,), row (R,)."""
    half = SUBPIXELS // 2
    top = torch.div(low - half + SUBPIXELS - 1, SUBPIXELS, rounding_mode="floor").clamp_min(0)
    bottom = torch.div(high - half, SUBPIXELS, rounding_mode="floor").clamp_max(height - 1)
    count = (bottom - top + 1).clamp_min(0)
    owner = torch.repeat_interleave(torch.arange(len(top), device=low.device), count)
    first = torch.cumsum(count, 0) - count - top
    return owner, torch.arange(len(owner), device=low.device) - first.index_select(0, owner)


def _spans(edges: Tensor, owner: Tensor, row: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last column inside each (triangle, row), inclusive; last < first where none."""
    centre_y = row * SUBPIXELS + SUBPIXELS // 2
    left, right = torch.zeros_like(row), torch.full_like(row, width - 1)
    for k in range(3):
        dx, dy, constant = (edge.index_select(0, owner) for edge in edges[3 * k : 3 * k + 3])  # (R,) each
        value = dx * centre_y + constant  # inside: value - dy * column * SUBPIXELS >= 0
        # exact: quotients are far below 2 ** 53
        column = (value.double() / (dy.abs() * SUBPIXELS).clamp_min(1)).floor().long()
        # dy > 0: column <= value / slope; dy < 0: column >= -value / slope, rounded up; dy = 0: all or
        # nothing
        right = torch.where(dy > 0, torch.minimum(right, column), right)
        left = torch.where(dy < 0, torch.maximum(left, -column), left)
        right = torch.where((dy == 0) & (value < 0), torch.full_like(right, -1), right)
    return left, right


def _at_pixels(number: Tensor, corner: Tensor, frames: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Barycentric weights (3, T, H, W) float32 in the triangle's own vertex order, and depth (T, H, W).

    number: (T H W,) column of ``corner``, (10, M), that each pixel shows.
    """
    # one after the other: contiguous
    planes = (plane.index_select(0, number).view(frames, height, width) for plane in corner)
    # exact: multiples of 1/512 of a pixel
    dx = (torch.arange(width, device=number.device) + 0.5) - next(planes)
    dy = (torch.arange(height, device=number.device) + 0.5)[:, None] - next(planes)
    second = torch.addcmul(next(planes) * dx, next(planes), dy)
    third = torch.addcmul(next(planes) * dx, next(planes), dy)
    depth = torch.addcmul(torch.addcmul(next(planes), second, next(planes)), third, next(planes))
    return torch.stack([next(planes) - second - third, second, third]), depth
