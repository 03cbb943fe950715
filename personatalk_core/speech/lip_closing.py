"""Lips that all but meet are made to meet.

A network trained on averages closes the lips only part of the way, because the sound does not tell exactly when they meet. Here dips
of the opening are deepened a little, and a nearly closed mouth is closed further; an open mouth is left as it is. Two frames to
either side take part, nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

DEEPER = 0.5  # times the depth of a dip below its smoothed neighbourhood
PULL, NEARLY = 0.2, 0.3  # share by which the least open mouth closes, and the openness, of 1, at which that has faded
SMOOTH = (1.0, 2.0, 3.0, 2.0, 1.0)


@dataclass(frozen=True, eq=False)
class LipClosing:
    """slope (E,): opening for each coefficient; way (E,): the nearest change, in vertices, that opens by one; low, span: opening of this
    person's mouth at rest, and from there to wide open, in the unit of the slope."""

    slope: Tensor
    way: Tensor
    low: float
    span: float

    def __call__(self, expression: Tensor) -> Tensor:
        """(T, E) at 25 fps to (T, E)."""
        slope, way = self.slope.to(expression), self.way.to(expression)
        openness = (expression @ slope - self.low) / self.span  # (T,), 0 at rest, 1 wide open
        moved = closer(openness) - openness
        return expression + rearrange(moved, "t -> t 1") * self.span * way


def closer(openness: Tensor) -> Tensor:
    """(T,) openness at 25 fps, 0 at rest and 1 wide open, to that of lips that meet."""
    weights = torch.tensor(SMOOTH, dtype=openness.dtype, device=openness.device)
    padded = functional.pad(rearrange(openness, "t -> 1 1 t"), (len(SMOOTH) // 2,) * 2, mode="replicate")
    smooth = functional.conv1d(padded, rearrange(weights / weights.sum(), "k -> 1 1 k"))[0, 0]
    deeper = openness - DEEPER * (smooth - openness).clamp(min=0)
    return torch.where(deeper > 0, deeper * (1 - PULL * torch.exp(-((deeper / NEARLY) ** 2))), deeper)
