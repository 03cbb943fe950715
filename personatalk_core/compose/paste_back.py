"""A rendered crop back into its frame: same place, same light, same grain, and not one pixel more than the
mask."""

from __future__ import annotations

import cv2
import numpy as np
from einops import rearrange
from torch import Tensor

from ..checks import check_shape
from ..errors import ShapeError
from .crop import LANCZOS, resample

SEAM_REACH = 0.09  # of the crop's side: how far a difference seen at the seam is believed inside
DIFFERENT = 0.12  # of full scale: where frame and rendering differ by more, they do not show the same thing
LIGHT_SIZE = 160  # pixels of the side at which light is measured
MAX_OFFSET = 0.15  # of full scale: light is never changed by more

# Grain: what a camera adds to every pixel anew, and a rendering blended from several frames lacks.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# blind to slopes and edges along the axes (Immerkaer 1996)
OPERATOR = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
GAIN = 6.0  # root of the sum of its squares: what it makes of white noise of deviation 1
NORMAL = 0.6745  # median of the absolute value of a normal variable
INSIDE = 0.3  # of the mask: where both pictures are compared
MIN_PIXELS = 200
MAX_GRAIN = 0.05  # of full scale: more is texture, not grain


def paste_back(
    frame: np.ndarray,
    crop: Tensor,
    mask: Tensor | np.ndarray,
    box: Tensor | np.ndarray,
    *,
    weight: float = 1.0,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Lay a rendered crop over its frame.

    Args:
        frame:  (H, W, 3) uint8, not changed.
        crop:   (3, R, R) float in [0, 1], rendered.
        mask:   (R, R) float in [0, 1], where it may show.
        box:    (3,) centre x, centre y, side of the crop in image pixels; crop position (u, v) is image
            position (centre - side / 2) + (u, v) * side / R.
        weight: 0 shows the frame, 1 the crop; between, both.
        seed:   of the grain that is added where the rendering has less than the frame.
    Returns:
        The new frame (H, W, 3) uint8, identical to ``frame`` bit for bit wherever the mask is 0; and the mask
        on the frame (H, W) float32, ``weight`` included.
    Raises:
        ShapeError: a shape or dtype differs, or the box is not finite with a positive side.
    """
    check_shape("frame", frame, "H", "W", 3)
    size = check_shape("crop", crop, 3, "R", "R")["R"]
    check_shape("mask", mask, size, size)
    if frame.dtype != np.uint8:
        raise ShapeError(f"frame has dtype {frame.dtype} but expected uint8.")
    changed = np.zeros(frame.shape[:2], np.float32)
    result = frame.copy()
    soft = np.asarray(mask, np.float32) * np.float32(weight)
    area = frame_area(box, frame.shape[:2])
    if area is None or not soft.any():
        return result, changed
    rows, columns = area
    rendered = rearrange(crop.detach().float().cpu(), "c h w -> h w c").contiguous().numpy()
    picture = place_on_frame(rendered, box, rows, columns)  # (h, w, 3)
    alpha = place_on_frame(soft, box, rows, columns).clip(0, 1)  # (h, w)
    before = frame[rows, columns].astype(np.float32) / 255
    if weight > 0:
        picture = picture + seam_offset(before, picture, alpha / weight, _side(box))
        picture = picture + missing_grain(before, picture, alpha / weight, seed)
    mixed = before + alpha[..., None] * (picture - before)
    pasted = (mixed.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    result[rows, columns] = np.where(alpha[..., None] > 0, pasted, frame[rows, columns])
    changed[rows, columns] = alpha
    return result, changed


def frame_area(box: Tensor | np.ndarray, frame_size: tuple[int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the frame pixels whose centres lie in the box; None if there are none."""
    x, y, side = (float(v) for v in box)
    if not (np.isfinite([x, y, side]).all() and side > 0):
        raise ShapeError(f"crop box is ({x}, {y}, {side}) but expected a finite centre and a positive side.")
    low = [max(0, int(np.ceil(centre - side / 2 - 0.5))) for centre in (y, x)]
    high = [
        min(limit, int(np.floor(centre + side / 2 - 0.5)) + 1)
        for centre, limit in zip((y, x), frame_size, strict=True)
    ]
    if low[0] >= high[0] or low[1] >= high[1]:
        return None
    return slice(low[0], high[0]), slice(low[1], high[1])


def place_on_frame(picture: np.ndarray, box: Tensor | np.ndarray, rows: slice, columns: slice) -> np.ndarray:
    """Sample a crop at frame pixels: the inverse of cutting it out.

    Args:
        picture: (R, R) or (R, R, C) float32.
        box:     as in :func:`paste_back`.
        rows, columns: of the frame.
    Returns:
        (h, w) or (h, w, C) float32: pictures by Lanczos' kernel, as they were cut out, masks linearly.
    """
    x, y, side = (float(v) for v in box)
    step = picture.shape[0] / side  # crop pixels a frame pixel
    if picture.ndim == 3:
        corner = ((columns.start - x + side / 2) * step, (rows.start - y + side / 2) * step)
        return resample(
            picture, corner, step, (rows.stop - rows.start, columns.stop - columns.start), LANCZOS
        )
    if step > 1:
        spread = 0.5 * np.sqrt(step * step - 1)
        picture = cv2.GaussianBlur(picture, (0, 0), spread, borderType=cv2.BORDER_REPLICATE)
    # index in the crop of the frame pixel with index i: ((i + 0.5) - corner) * step - 0.5
    start = [
        (at + 0.5 - (centre - side / 2)) * step - 0.5 for at, centre in ((columns.start, x), (rows.start, y))
    ]
    transform = np.array([[step, 0, start[0]], [0, step, start[1]]], np.float64)
    size = (columns.stop - columns.start, rows.stop - rows.start)
    way = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(picture, transform, size, flags=way, borderMode=cv2.BORDER_REPLICATE)


def seam_offset(before: np.ndarray, picture: np.ndarray, mask: np.ndarray, side: float) -> np.ndarray:
    """What to add to the rendering so that its light agrees with the frame's along the seam.

    The difference is measured where the mask is neither 0 nor 1, except where both plainly show different
    things (a chin that moved), and carried inwards by weighing near places more: large and soft, never
    detail.

    Args:
        before:  (h, w, 3) float32 frame in [0, 1].
        picture: (h, w, 3) float32 rendering.
        mask:    (h, w) float32 in [0, 1].
        side:    of the crop in frame pixels.
    Returns:
        (h, w, 3) float32 within +-MAX_OFFSET; 0 where there is no seam to measure.
    """
    height, width = mask.shape
    shrink = max(1, int(side / LIGHT_SIZE))  # light is soft: a small copy holds it whole
    if shrink > 1:
        small = (-(-width // shrink), -(-height // shrink))
        before, picture, mask = (
            cv2.resize(part, small, interpolation=cv2.INTER_AREA) for part in (before, picture, mask)
        )
        side = side / shrink
    difference = before - picture
    contrast = np.square(cv2.GaussianBlur(difference, (0, 0), max(1.0, 0.01 * side))).max(2) / DIFFERENT**2
    trust = (4 * mask * (1 - mask) * np.exp(-contrast)).astype(np.float32)  # (h, w)
    offset, known = np.zeros_like(difference), np.zeros_like(trust)
    for reach in (
        SEAM_REACH / 2,
        SEAM_REACH * 2,
        SEAM_REACH * 8,
    ):  # near seams first; farther ones fill the rest
        spread = max(1.0, reach * side)
        near = _wide_blur(trust, spread)
        mean = _wide_blur(difference * trust[..., None], spread) / np.maximum(near, 1e-8)[..., None]
        share = (1 - known) * (near / (near + 0.02))
        offset += share[..., None] * mean
        known += share
    offset = offset.clip(-MAX_OFFSET, MAX_OFFSET)
    return offset if shrink == 1 else cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)


def _wide_blur(picture: np.ndarray, spread: float) -> np.ndarray:
    """Gaussian blur; a wide one on a smaller copy, whose result is as smooth."""
    shrink = max(1, int(spread / 4))
    if shrink == 1:
        return cv2.GaussianBlur(picture, (0, 0), spread, borderType=cv2.BORDER_CONSTANT)
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (-(-width // shrink), -(-height // shrink)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), spread / shrink, borderType=cv2.BORDER_CONSTANT)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _side(box: Tensor | np.ndarray) -> float:
    return float(box[2])


def grain_level(picture: np.ndarray, where: np.ndarray) -> float:
    """Standard deviation of the grain.

    Args:
        picture: (h, w, 3) float32 in [0, 1].
        where:   (h, w) bool, pixels to look at; the median ignores lips, creases and stubble as long as most
            of it is plain.
    Returns:
        Deviation of the luma's noise; 0 where there is too little to look at.
    """
    check_shape("where", where, *picture.shape[:2])
    if where.sum() < MIN_PIXELS:
        return 0.0
    response = cv2.filter2D(picture @ LUMA, cv2.CV_32F, OPERATOR, borderType=cv2.BORDER_REPLICATE)
    return float(np.median(np.abs(response[where]))) / (NORMAL * GAIN)


def missing_grain(before: np.ndarray, picture: np.ndarray, mask: np.ndarray, seed: int) -> np.ndarray:
    """What to add to a rendering so that its grain is as strong as the source's around it.

    Args:
        before:  (h, w, 3) float32 source in [0, 1].  picture: (h, w, 3) float32 rendering at the same place.
        mask:    (h, w) float32 in [0, 1].
        seed:    of the frame: the same frame gets the same grain in every run, another frame another.
    Returns:
        (h, w, 1) float32; 0 where the rendering has grain enough.
    """
    where = mask > INSIDE
    source, rendered = (min(grain_level(p, where), MAX_GRAIN) for p in (before, picture))
    if source <= rendered:
        return np.zeros((*mask.shape, 1), np.float32)
    noise = np.random.default_rng(seed).standard_normal(mask.shape, np.float32)
    return np.float32(np.sqrt(source * source - rendered * rendered)) * noise[..., None]
