"""Laying a rendered frame over another version of its source through the mask of what was changed."""

from __future__ import annotations

import cv2
import numpy as np

from ..checks import check_range, check_shape


def blend_frame(
    under: np.ndarray, over: np.ndarray, mask: np.ndarray, strength: float = 1.0, feather: float = 0.0
) -> np.ndarray:
    """Blend one frame.

    Args:
        under, over: (H, W, 3) uint8.
        mask:        (H, W) in [0, 1], 0 where nothing was changed.
        strength:    share of ``over`` inside the mask, 0 to 1; 0 gives ``under`` bit for bit.
        feather:     pixels over which the mask's edge fades inwards; its outside stays untouched.
    Returns:
        (H, W, 3) uint8; equal to ``under`` where the mask is 0.
    Raises:
        ShapeError: sizes differ, or strength is outside [0, 1].
    """
    check_shape("under", under, "H", "W", 3)
    check_shape("over", over, *under.shape)
    check_shape("mask", mask, *under.shape[:2])
    check_range("strength", strength, 0.0, 1.0)
    if feather > 0:
        inside = cv2.distanceTransform((mask > 0).astype(np.uint8), cv2.DIST_L2, 3)
        mask = mask * np.clip(inside / feather, 0, 1)
    weight = (strength * mask)[..., None].astype(np.float32)
    mixed = np.rint(under + weight * (over.astype(np.float32) - under)).astype(np.uint8)
    return np.where(weight > 0, mixed, under)
