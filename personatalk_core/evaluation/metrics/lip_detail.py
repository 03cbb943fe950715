"""Sharpness around the lips: the first thing a blurred mouth loses."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .reconstruction import LIP_BAND, RegionMasks, detail


def around_lips(masks: RegionMasks) -> Tensor:
    """The lips and LIP_BAND of the crop's width around them, inside the face: (T, 1, R, R) bool at the masks'
    size."""
    reach = round(LIP_BAND * masks.lips.shape[-1])
    rows = F.max_pool2d(
        masks.lips.float(), (2 * reach + 1, 1), stride=1, padding=(reach, 0)
    )  # a square, one axis at a time
    return (F.max_pool2d(rows, (1, 2 * reach + 1), stride=1, padding=(0, reach)) > 0) & masks.face


def at_size(mask: Tensor, size: int) -> Tensor:
    """A bool mask (T, 1, R, R) at another size of the same crop."""
    return mask if mask.shape[-1] == size else F.interpolate(mask.float(), (size, size), mode="nearest") > 0.5


def lip_detail(pixels: Tensor, around: Tensor) -> Tensor:
    """Standard deviation of the luma's Laplacian around the lips, in grey levels of 255.

    Args:
        pixels: (T, 3, R, R) in [0, 1], at the source's own resolution where detail is to be judged.
        around: (T, 1, R, R) bool of :func:`around_lips`.
    Returns:
        (T,); NaN where nothing is drawn. Compare medians over frames: output over source, 0.9 or more is
        sharp.
    """
    return 255.0 * detail(pixels, around)
