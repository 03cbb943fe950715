"""Squares around the head, smooth in time, and squares of pixels at other scales: separable, exact to
sub-pixels, area-averaging when shrinking.

Two kernels: a triangle, which is soft and never overshoots, for looking at faces; and Lanczos' of three
lobes, for pixels that are shown: there and back again at about the same scale, it keeps 0.89 to 0.97 of the
finest detail, a triangle 0.61 to 0.69.

Written as two small sparse matrices, so that floats stay floats, nothing is quantised to fixed-point offsets,
and a square at native scale on whole pixels comes back bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.sparse import csr_array
from torch import Tensor

from ..checks import check_shape
from ..errors import ShapeError
from ..geometry.camera import project
from ..geometry.face_model import FaceModel, Region
from ..types import CropBoxes, FaceGeometry

TRIANGLE, LANCZOS = 1, 3  # pixels that the kernels reach to each side
FACE_SHARE = 0.62  # height of the neutral face over the side of the crop
OPEN_JAW = 0.22  # how much further down an open mouth takes the chin, over the neutral face's height
EDGE = 0.02  # of the side: free border around the face with an open jaw
CENTRE_SECONDS = 0.08  # standard deviation of the smoothing over time ...
SIDE_SECONDS = 0.40  # ... and of the side's: a zoom is seen sooner than a shift
BLOCK = 1000  # frames whose vertices are in memory at once


def resampling_matrix(
    start: float, step: float, count: int, length: int, lobes: int = TRIANGLE
) -> tuple[slice, csr_array]:
    """Weights that take samples of a line at another scale.

    Sample i lies at start + (i + 0.5) * step in continuous coordinates (pixel j covers [j, j + 1], its centre
    is j + 0.5). The kernel is as many pixels wide to each side as it has lobes, or as many steps where that
    is wider; beyond the ends the last pixel repeats.
    Args:
        start:  where the first sample's cell begins, in pixels.
        step:   pixels a sample, > 0; above 1 shrinks.
        count:  samples.
        length: pixels of the line.
        lobes:  TRIANGLE or LANCZOS.
    Returns:
        part, weights (count, n) float32, sparse: samples = weights @ line[part]; each row sums
        to 1.
    """
    centre = start + (np.arange(count) + 0.5) * step - 0.5  # in indices of pixel centres
    wide = max(1.0, step)
    reach = lobes * wide
    taps = np.floor(centre - reach).astype(int)[:, None] + np.arange(
        int(np.ceil(2 * reach)) + 2
    )  # (count, taps)
    away = np.abs(taps - centre[:, None]) / wide
    weight = (
        np.maximum(0.0, 1.0 - away)
        if lobes == TRIANGLE
        else np.where(away < lobes, np.sinc(away) * np.sinc(away / lobes), 0.0)
    )
    weight /= weight.sum(1, keepdims=True)
    taps = np.clip(taps, 0, length - 1)
    first, last = int(taps.min()), int(taps.max())
    rows = np.arange(0, taps.size + 1, taps.shape[1])
    matrix = csr_array(
        (weight.astype(np.float32).ravel(), (taps - first).ravel(), rows), shape=(count, last - first + 1)
    )
    return slice(first, last + 1), matrix


def resample(
    picture: np.ndarray,
    start: tuple[float, float],
    step: float,
    count: tuple[int, int],
    lobes: int = TRIANGLE,
) -> np.ndarray:
    """Take a rectangle of a picture at another scale.

    Args:
        picture: (H, W, C) uint8 or float.
        start:   x, y of the rectangle's corner in continuous pixels; outside the picture the border repeats.
        step:    source pixels a result pixel.
        count:   (height, width) of the result.
        lobes:   TRIANGLE or LANCZOS, whose floats may overshoot.
    Returns:
        (height, width, C), of the picture's dtype; uint8 is rounded.
    """
    width, across = resampling_matrix(start[0], step, count[1], picture.shape[1], lobes)
    height, down = resampling_matrix(start[1], step, count[0], picture.shape[0], lobes)
    source = picture[height, width].astype(np.float32)  # (h, w, C)
    rows = down @ rearrange(source, "h w c -> h (w c)")  # (height, w C)
    columns = across @ rearrange(rows, "y (w c) -> w (y c)", c=source.shape[2])  # (width, height C)
    result = np.ascontiguousarray(rearrange(columns, "x (y c) -> y x c", c=source.shape[2]))
    if picture.dtype == np.uint8:
        return np.clip(np.rint(result), 0, 255).astype(np.uint8)
    return result.astype(picture.dtype)


def crop_boxes(geometry: FaceGeometry, face_model: FaceModel) -> CropBoxes:
    """Squares around the head, smooth in time within each shot.

    Paper: 4.1 (crops by landmarks); here by identity and pose, so that a crop stays where it is while the
        mouth moves.
    Args:
        geometry:   T frames.
        face_model: mean (V, 3), identity_basis (A, V, 3), region (V is over vertices of any region; those of
            triangles of the face count).
    Returns:
        CropBoxes.box (T, 3): centre x, centre y, side in image pixels. The neutral face is about FACE_SHARE
        of the side high, and the face with an open mouth lies inside in every frame.
    """
    neutral = face_model.mean + torch.einsum(
        "a,avk->vk", geometry.identity, face_model.identity_basis
    )  # (V, 3)
    drawn = face_model.triangles[face_model.region == int(Region.FACE)].unique()
    neutral = neutral[drawn].double().numpy()
    low, high = neutral.min(0), neutral.max(0)
    height = float(high[1] - low[1])
    jaw = np.array(
        [
            [low[0] / 3, low[1] - OPEN_JAW * height, high[2] / 2],
            [high[0] / 3, low[1] - OPEN_JAW * height, high[2] / 2],
        ]
    )
    anchor = np.array(
        [[(low[0] + high[0]) / 2, (low[1] + high[1] - OPEN_JAW * height) / 2, (low[2] + high[2]) / 2]]
    )

    hull = np.concatenate([neutral, jaw])
    centre = np.concatenate(
        [_project(anchor, geometry, part)[:, 0] for part in _blocks(geometry.frame_count)]
    )  # (T, 2)
    side = geometry.scale.double().numpy() * height / FACE_SHARE  # (T,)

    shot, times = geometry.shot.numpy(), geometry.times.double().numpy()
    boxes = np.empty((len(shot), 3))
    for number in np.unique(shot):
        at = np.flatnonzero(shot == number)
        step = float(np.median(np.diff(times[at]))) if len(at) > 1 else 1.0
        boxes[at, :2] = _smooth(centre[at], CENTRE_SECONDS / step)
        reach = np.empty(len(at))
        for part in _blocks(len(at)):
            away = _project(hull, geometry, at[part]) - boxes[at[part], None, :2]  # (n, V + 2, 2)
            reach[part] = 2 * np.abs(away).max((1, 2)) / (1 - 2 * EDGE)
        width = SIDE_SECONDS / step
        smooth = _smooth(side[at], width)
        # where the smooth side would cut the face, grow around that moment, and smoothly
        missing = np.maximum(reach - smooth, 0.0)
        boxes[at, 2] = smooth + _smooth(
            maximum_filter1d(missing, 2 * int(np.ceil(3 * width)) + 1, mode="nearest"), width, truncate=3.0
        )
    return CropBoxes(torch.from_numpy(boxes.astype(np.float32)))


def _blocks(count: int) -> list[slice]:
    return [slice(at, min(at + BLOCK, count)) for at in range(0, count, BLOCK)]


def _project(points: np.ndarray, geometry: FaceGeometry, frames: slice | np.ndarray) -> np.ndarray:
    """points (V, 3) canonical -> (n, V, 2) image pixels in some frames, in double precision."""
    rotation, translation, scale = (
        x[frames].double() for x in (geometry.rotation, geometry.translation, geometry.scale)
    )
    vertices = torch.from_numpy(points).expand(len(scale), -1, -1)
    return project(vertices, rotation, translation, scale)[..., :2].numpy()


def _smooth(values: np.ndarray, width: float, truncate: float = 4.0) -> np.ndarray:
    return gaussian_filter1d(values, max(width, 1e-6), axis=0, mode="nearest", truncate=truncate)


def crop_image(frame: np.ndarray, box: Tensor | np.ndarray, size: int, lobes: int = TRIANGLE) -> np.ndarray:
    """Cut one square out of a frame.

    Args:
        frame: (H, W, 3) uint8, or float of any range.
        box:   (3,) centre x, centre y, side in image pixels.
        size:  pixels of the crop's side.
        lobes: TRIANGLE to look at a face; LANCZOS for pixels that will be shown.
    Returns:
        (size, size, 3) of the frame's dtype. Shrinking averages; outside the frame the border repeats. A box
        of whole pixels at side == size gives those pixels exactly.
    """
    check_shape("frame", frame, "H", "W", 3)
    x, y, side = _box(box)
    return resample(frame, (x - side / 2, y - side / 2), side / size, (size, size), lobes)


def uncrop_image(
    picture: np.ndarray, box: Tensor | np.ndarray, frame_size: tuple[int, int]
) -> tuple[np.ndarray, slice, slice]:
    """The inverse of crop_image: lay a crop back on the frame's own pixels.

    Args:
        picture:    (size, size, C) uint8 or float.
        box:        (3,) as in crop_image.
        frame_size: (H, W).
    Returns:
        part (h, w, C) of the picture's dtype, rows, columns: ``frame[rows, columns]`` is what the part
        covers: every whole frame pixel whose centre lies in the box. Empty slices where box and frame do not
        meet.
    """
    check_shape("crop", picture, "size", "size", "C")
    x, y, side = _box(box)
    size = picture.shape[0]
    left, top = (
        int(np.clip(np.ceil(v - side / 2 - 0.5), 0, limit))
        for v, limit in ((x, frame_size[1]), (y, frame_size[0]))
    )
    right, bottom = (
        int(np.clip(np.floor(v + side / 2 - 0.5) + 1, 0, limit))
        for v, limit in ((x, frame_size[1]), (y, frame_size[0]))
    )
    if right <= left or bottom <= top:
        return np.zeros((0, 0, picture.shape[2]), picture.dtype), slice(0, 0), slice(0, 0)
    scale = size / side  # crop pixels a frame pixel
    start = ((left - x + side / 2) * scale, (top - y + side / 2) * scale)
    return (
        resample(picture, start, scale, (bottom - top, right - left)),
        slice(top, bottom),
        slice(left, right),
    )


def crop_points(points: Tensor, boxes: CropBoxes, size: int) -> Tensor:
    """Image -> crop. points (T, V, 3) image pixels with depth -> (T, V, 3) crop pixels, the depth scaled
    alike."""
    corner, scale = _corner_and_scale(points, boxes, size)
    return (points - corner) * scale


def uncrop_points(points: Tensor, boxes: CropBoxes, size: int) -> Tensor:
    """Crop -> image: the inverse of crop_points."""
    corner, scale = _corner_and_scale(points, boxes, size)
    return points / scale + corner


def _corner_and_scale(points: Tensor, boxes: CropBoxes, size: int) -> tuple[Tensor, Tensor]:
    check_shape("points", points, boxes.box.shape[0], "V", 3)
    box = boxes.box.to(points)
    corner = torch.cat([box[:, :2] - box[:, 2:] / 2, torch.zeros_like(box[:, :1])], 1)  # (T, 3)
    return corner[:, None], (size / box[:, 2])[:, None, None]


def _box(box: Tensor | np.ndarray) -> tuple[float, float, float]:
    check_shape("crop box", box, 3)
    x, y, side = (float(v) for v in box)
    if not (np.isfinite([x, y, side]).all() and side > 0):
        raise ShapeError(f"crop box is ({x}, {y}, {side}) but expected a finite centre and a positive side.")
    return x, y, side
