"""Reading reference pixels and latents at the places that the mesh gives: the fast twins of
``surface.warp_references`` and ``surface.sample_at``."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from .. import surface
from ..surface import SUBPIXELS


def warp_references(images: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
    """As ``surface.warp_references``: OpenCV's ``remap`` on a CPU, several times faster than ``grid_sample``.

    Args:
        images:    (M, 3, H, W) in [0, 1].
        rows:      (n,) int64, some of the M in any order; -1 reads nothing and gives 0.
        positions: (n, 2, h, w) in pixels; the centre of the first pixel is 0.5.
    Returns:
        (n, 3, h, w); beyond the border the nearest pixel counts.
    """
    if images.device.type != "cpu" or images.dtype != torch.float32 or images.requires_grad:
        return surface.warp_references(images, rows, positions)
    # OpenCV counts from the first pixel's centre
    place = torch.round(positions * SUBPIXELS).mul_(1 / SUBPIXELS).sub_(0.5).numpy()
    pictures = rearrange(images, "m c h w -> m h w c").numpy()
    warped = np.empty((len(rows), 3, *positions.shape[-2:]), np.float32)
    interleaved = np.empty((*positions.shape[-2:], 3), np.float32)
    for k, row in enumerate(rows.tolist()):
        if row < 0:
            warped[k] = 0
            continue
        picture = np.ascontiguousarray(pictures[row])  # the same memory where the images are channels last
        x, y = place[k]
        cv2.remap(picture, x, y, cv2.INTER_CUBIC, dst=interleaved, borderMode=cv2.BORDER_REPLICATE)
        cv2.split(interleaved, list(warped[k]))
    return torch.from_numpy(warped)


def sample_rows(
    groups: Sequence[Tensor], rows: Tensor, positions: Tensor, scale: float = 1.0
) -> list[Tensor]:
    """As ``surface.sample_at`` for groups of M images (M, C, H, W), of one size, read at positions (n, 2, h,
    w) of some rows, (n,) int64.

    The four neighbours of every place are summed as rows of one table, in which all channels of a pixel lie
    together (memory format channels last): faster where channels are many and places few.

    Args:
        scale: positions are in pixels of images ``1 / scale`` times as large.
    Returns:
        (n, C, h, w) of each group.
    """
    height, width = groups[0].shape[-2:]
    place = positions.float() * scale - 0.5  # the first pixel's centre is 0
    x, y = place[:, 0].clamp(0, width - 1), place[:, 1].clamp(0, height - 1)  # (n, h, w)
    left, top = x.floor().clamp_max(max(width - 2, 0)), y.floor().clamp_max(max(height - 2, 0))
    x, y = x - left, y - top
    share = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)  # (n, h, w, 4)
    corner = rows[:, None, None] * (height * width) + (top * width + left).long()
    right, down = min(1, width - 1), width * min(1, height - 1)
    index = torch.stack([corner, corner + right, corner + down, corner + down + right], dim=-1)
    tables = (rearrange(images, "m c h w -> (m h w) c") for images in groups)
    read = (
        F.embedding_bag(index.view(-1, 4), table, mode="sum", per_sample_weights=share.view(-1, 4))
        for table in tables
    )
    return [rearrange(values, "(n h w) c -> n c h w", n=len(rows), h=positions.shape[-2]) for values in read]
