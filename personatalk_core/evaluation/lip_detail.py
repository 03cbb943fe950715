"""Sharpness around the lips: the first thing a blurred mouth loses."""

from __future__ import annotations

from torch import Tensor

from ..geometry.face_model import FaceModel
from .reconstruction import LIP_BAND, detail, dilate, region_masks


def lip_detail(pixels: Tensor, points: Tensor, face_model: FaceModel) -> Tensor:
    """Standard deviation of the luma's Laplacian around the lips, in grey levels of 255.

    Args:
        pixels: (T, 3, R, R) in [0, 1], at the source's own resolution where detail is to be judged.
        points: (T, V, 3) crop pixels.
    Returns:
        (T,); NaN where the face is not drawn. Compare medians over frames: output over source, 0.9 or more is sharp.
    """
    masks = region_masks(points, face_model, pixels.shape[-1])
    around = dilate(masks.lips, round(LIP_BAND * pixels.shape[-1])) & masks.face
    return 255.0 * detail(pixels, around)
