"""Lips that nearly touch: between them the mesh leaves a gap thinner than a pixel, which must not be drawn as a hard line.

A pixel centre is in the gap or is not, and whatever lies inside the mouth in the references would be squeezed into that one pixel.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

THIN = 2  # pixels: gaps that are nowhere higher are softened
TAPS = (1.0, 4.0, 6.0, 4.0, 1.0)


def soften_hairlines(pixels: Tensor, cavity: Tensor) -> Tensor:
    """Soften the lines between nearly closed lips, across them and, where they step from row to row, along them.

    Args:
        pixels: (B, 3, H, W) in [0, 1].  cavity: (B, H, W) bool, where the inside of the mouth is drawn.
    Returns:
        (B, 3, H, W): a picture is as it was where the mouth is open by more than THIN pixels anywhere, or not drawn.
    """
    height = cavity.sum(dim=1).amax(dim=1)  # (B,)
    thin = ((height > 0) & (height <= THIN)).nonzero()[:, 0].tolist()
    if not thin:
        return pixels
    pixels = pixels.clone()
    for b in thin:
        _soften(pixels[b], cavity[b])
    return pixels


def _soften(pixels: Tensor, cavity: Tensor) -> None:
    """Soften one picture (3, H, W), whose cavity (H, W) is a thin line, in place."""
    rows, columns = cavity.any(dim=1).nonzero()[:, 0], cavity.any(dim=0).nonzero()[:, 0]
    reach = len(TAPS) // 2
    top, bottom = max(0, int(rows[0]) - 2 * reach), int(rows[-1]) + 2 * reach + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    gap, part = cavity[top:bottom, left:right], pixels[:, top:bottom, left:right]
    taps = part.new_tensor(TAPS) / sum(TAPS)
    soft = F.conv2d(F.pad(part[:, None], (reach,) * 4, mode="replicate"), (taps[:, None] * taps)[None, None])[:, 0]
    near = F.max_pool2d(gap[None].to(part.dtype), 2 * reach + 1, stride=1, padding=reach)
    pixels[:, top:bottom, left:right] = torch.where(near > 0, soft, part)
