"""Full-resolution reference pixels, carried to the target by bicubic reading at sub-pixel positions.

Positions are rounded to 1/32 of a pixel (far below the landmarks' noise), so that OpenCV's ``remap`` on a
CPU, several times faster than ``grid_sample``, and torch on a GPU read the same values.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from .surface import sample_at

SUBPIXELS = 32  # OpenCV's own grid
KERNEL = "bicubic"  # bilinear reading alone costs a fifth of the finest detail


def warp_references(images: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """Read some references at their own positions.

    Args:
        images:    (M, 3, H, W) in [0, 1].
        rows:      (n,) int64, some of the M in any order; -1 reads nothing and gives 0.
        positions: (n, 2, h, w) in pixels; the centre of the first pixel is 0.5.
    Returns:
        (n, 3, h, w); beyond the border the nearest pixel counts.
    """
    if images.device.type != "cpu" or images.dtype != torch.float32 or images.requires_grad:
        read = warp_references_plain(
            images, rows.clamp_min(0), torch.round(positions.float() * SUBPIXELS) / SUBPIXELS
        )
        return read * (rows >= 0)[:, None, None, None]
    place = (
        torch.round(positions * SUBPIXELS).mul_(1 / SUBPIXELS).sub_(0.5).numpy()
    )  # OpenCV counts from the first pixel's centre
    pictures = rearrange(images, "m c h w -> m h w c").numpy()
    carried = np.empty((len(rows), 3, *positions.shape[-2:]), np.float32)
    one = np.empty((*positions.shape[-2:], 3), np.float32)
    for k, row in enumerate(rows.tolist()):
        if row < 0:
            carried[k] = 0
            continue
        picture = np.ascontiguousarray(pictures[row])  # the same memory where the images are channels last
        cv2.remap(
            picture, place[k, 0], place[k, 1], cv2.INTER_CUBIC, dst=one, borderMode=cv2.BORDER_REPLICATE
        )
        cv2.split(one, list(carried[k]))
    return torch.from_numpy(carried)


def warp_references_plain(images: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """The same through torch on any device, at the positions as they come."""
    return sample_at(images.index_select(0, rows), positions, mode=KERNEL)
