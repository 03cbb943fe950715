"""Grain: what a camera adds to every pixel anew, and a rendering blended from several frames lacks."""

from __future__ import annotations

import cv2
import numpy as np

from ..checks import check_shape

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
OPERATOR = np.array(
    [[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32
)  # blind to slopes and edges along the axes (Immerkaer 1996)
GAIN = 6.0  # root of the sum of its squares: what it makes of white noise of deviation 1
NORMAL = 0.6745  # median of the absolute value of a normal variable
INSIDE = 0.3  # of the mask: where both pictures are compared
LEAST_PIXELS = 200
LARGEST = 0.05  # of full scale: more is texture, not grain


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
    if where.sum() < LEAST_PIXELS:
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
    wanted, own = (min(grain_level(p, where), LARGEST) for p in (before, picture))
    if wanted <= own:
        return np.zeros((*mask.shape, 1), np.float32)
    noise = np.random.default_rng(seed).standard_normal(mask.shape, np.float32)
    return np.float32(np.sqrt(wanted * wanted - own * own)) * noise[..., None]
