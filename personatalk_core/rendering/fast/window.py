"""Rectangles of pixels, since the fast paths work only where something is drawn or shown, and means over the
squares of pixels that latents are: adding planes takes a third to a fifth of a CPU's ``avg_pool2d``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels, rows top to bottom and columns left to right, the ends not included."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def size(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def empty(self) -> bool:
        """Whether there is no pixel inside."""
        return min(self.size) <= 0

    def cut(self, image: Tensor) -> Tensor:
        """The rectangle of (..., H, W)."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def paste(self, image: Tensor, values: Tensor) -> None:
        """Write the rectangle of an image that the caller has made."""
        image[..., self.top : self.bottom, self.left : self.right] = values

    def grown(self, margin: int, height: int, width: int) -> Window:
        """The same rectangle with a margin on all sides, inside a picture of height x width."""
        top, left = max(0, self.top - margin), max(0, self.left - margin)
        return Window(top, min(height, self.bottom + margin), left, min(width, self.right + margin))

    def intersection(self, other: Window) -> Window:
        """The pixels in both rectangles; empty (no rows, no columns) where they do not meet."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(top, max(top, bottom), left, max(left, right))

    def scaled(self, divisor: int) -> Window:
        """The same rectangle on a grid that is ``divisor`` times coarser."""
        return Window(*(edge // divisor for edge in (self.top, self.bottom, self.left, self.right)))

    def enlarged(self, factor: int) -> Window:
        """The same rectangle on a grid that is ``factor`` times finer."""
        return Window(*(edge * factor for edge in (self.top, self.bottom, self.left, self.right)))


def bounding_window(mask: Tensor, step: int = 1) -> Window:
    """The smallest rectangle on multiples of ``step`` around the entries of (..., H, W) bool that are true;
    empty where none is."""
    height, width = mask.shape[-2:]
    flat = mask.reshape(-1, height, width)
    marks = torch.cat([flat.any(dim=2).any(dim=0), flat.any(dim=1).any(dim=0)]).cpu().numpy()
    rows, columns = np.flatnonzero(marks[:height]), np.flatnonzero(marks[height:])
    if len(rows) == 0:
        return Window(0, 0, 0, 0)
    top, left = (int(place[0]) // step * step for place in (rows, columns))
    bottom, right = (-(-(int(place[-1]) + 1) // step) * step for place in (rows, columns))
    return Window(top, bottom, left, right)


def mean_pool(images: Tensor, step: int) -> Tensor:
    """(..., H, W) to (..., H / step, W / step), each value the mean of step x step; H and W are multiples of
    it."""
    if images.device.type != "cpu":
        return mean_pool_plain(images, step)
    rows = images[..., ::step, :]
    for k in range(1, step):
        rows = rows + images[..., k::step, :]
    total = rows[..., ::step]
    for k in range(1, step):
        total = total + rows[..., k::step]
    return total * (1.0 / step**2)


def mean_pool_plain(images: Tensor, step: int) -> Tensor:
    """The same through torch's own layer."""
    flat = images.reshape(-1, 1, *images.shape[-2:])
    return F.avg_pool2d(flat, step).view(
        *images.shape[:-2], images.shape[-2] // step, images.shape[-1] // step
    )


def mean_channel(images: Tensor) -> Tensor:
    """(N, C, H, W) to (N, 1, H, W), the mean of the channels, which is slow where they lie side by side in
    memory."""
    total = images[:, 0]
    for channel in images.unbind(1)[1:]:
        total = total + channel
    return torch.unsqueeze(total * (1.0 / images.shape[1]), 1)
