"""Where are faces in a whole frame? The detector sees 128 x 128 pixels, so small faces are sought in enlarged
tiles."""

from __future__ import annotations

import cv2
import numpy as np

from .landmarks import FaceLandmarker

TILE_PIXELS = 256  # a tile is shrunk to this before the detector shrinks it to its own 128
# source pixels, for small and for 4K frames: the detector was measured to find faces of an eighth of a tile
SMALLEST_TILES = (160, 320)
# of a tile; neighbours overlap by more than the largest face that the next coarser level misses
TILE_STEP = 0.6
READ_MARGIN = 1.7  # side of the square to read landmarks from, over the detector's box
SAME_FACE = 0.5  # boxes whose centres are closer than this times the larger side are one face


def tile_levels(frame_size: tuple[int, int]) -> list[float]:
    """Sides of the tiles in source pixels, coarse to fine; the first holds the whole frame."""
    side = float(max(frame_size))
    smallest = float(np.clip(side / 12, *SMALLEST_TILES))
    levels = [side]
    while levels[-1] > smallest:
        levels.append(max(levels[-1] / 2, smallest))
    return levels


def _starts(length: int, tile: int) -> list[int]:
    """Starts of tiles that cover a length evenly, overlapping by at least 1 - TILE_STEP."""
    if length <= tile:
        return [0]
    count = int(np.ceil((length - tile) / (TILE_STEP * tile))) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def search_level(landmarker: FaceLandmarker, frame: np.ndarray, side: float) -> np.ndarray:
    """Detect faces in tiles of one size. Returns (N, 4): centre x, centre y, side in image pixels, score."""
    height, width = frame.shape[:2]
    scale = min(1.0, TILE_PIXELS / side) if side > TILE_PIXELS else TILE_PIXELS / side
    small = cv2.resize(
        frame,
        (max(1, round(width * scale)), max(1, round(height * scale))),
        interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR,
    )
    found = []
    for top in _starts(small.shape[0], TILE_PIXELS):
        for left in _starts(small.shape[1], TILE_PIXELS):
            tile = small[top : top + TILE_PIXELS, left : left + TILE_PIXELS]
            boxes = landmarker.detect(tile)
            boxes[:, :2] += (left, top)
            found.append(boxes)
    boxes = np.concatenate(found)
    boxes[:, :3] /= scale
    return boxes


def distinct(boxes: np.ndarray) -> np.ndarray:
    """Keep the box of highest score of those that show one face. boxes (N, 4) -> (M, 4), by falling score."""
    kept: list[np.ndarray] = []
    for box in boxes[np.argsort(-boxes[:, 3])]:
        if all(np.hypot(*(box[:2] - k[:2])) > SAME_FACE * max(box[2], k[2]) for k in kept):
            kept.append(box)
    return np.array(kept).reshape(-1, 4)


def search_frame(
    landmarker: FaceLandmarker, frame: np.ndarray, *, levels: int | None = None, all_sizes: bool = True
) -> np.ndarray:
    """Detect faces in a frame, large ones first.

    Args:
        frame:     (H, W, 3) uint8 RGB.
        levels:    how many tile sizes to try, coarse to fine; None for all.
        all_sizes: go on to the end; False stops one tile size after the first that shows a face.
    Returns:
        (N, 4) float64: centre x, centre y, side in image pixels, score; one row a face, by falling score.
    """
    found = np.zeros((0, 4))
    for side in tile_levels(frame.shape[:2])[:levels]:
        stop = len(found) > 0 and not all_sizes
        found = np.concatenate([found, search_level(landmarker, frame, side)])
        if stop:
            break
    return distinct(found)
