"""Conversions between sample time, the 25 fps the networks work at, and a video's own frame times.

Frame t at 25 fps covers [t / 25, (t + 1) / 25) and is taken to show its middle, as is every frame of a video.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..config import MODEL_FPS
from ..types import FaceGeometry


def frames_to_cover(times: Tensor, durations: Tensor) -> int:
    """25 fps frames needed until the last of a video's frames has ended, at least 1. times, durations: (T,)
    seconds."""
    return max(1, math.ceil(float(times[-1] + durations[-1]) * MODEL_FPS - 1e-6))


def interpolate_frames(values: Tensor, times: Tensor, durations: Tensor) -> Tensor:
    """Read 25 fps values at a video's frames, linear between frame middles, held at both ends.

    Args:
        values:    (T25, E).
        times:     (T,) seconds, where each frame begins.
        durations: (T,) seconds.
    Returns:
        (T, E); exactly ``values`` when the video has 25 fps.
    """
    position = ((times + durations / 2) * MODEL_FPS - 0.5).clamp(0, len(values) - 1)
    nearest = position.round()
    position = torch.where((position - nearest).abs() < 1e-4, nearest, position)  # file clocks are rounded
    left = position.floor().long()
    right = (left + 1).clamp(max=len(values) - 1)
    weight = (position - left).to(values.dtype)[:, None]
    return values[left] * (1 - weight) + values[right] * weight


def at_model_rate(geometry: FaceGeometry) -> tuple[Tensor, Tensor]:
    """A clip's expression at 25 fps.

    Returns:
        (T25, E) expression, linear between frame middles, and (T25,) bool: both neighbouring frames show a
        usable face and lie in the same shot.
    """
    times, durations = geometry.times.double(), geometry.durations.double()
    middle = times + durations / 2
    frames = frames_to_cover(times, durations)
    moment = (torch.arange(frames, dtype=torch.float64) + 0.5) / MODEL_FPS
    if geometry.frame_count == 1:
        return geometry.expression.expand(frames, -1), geometry.usable.expand(frames)
    right = torch.searchsorted(middle, moment).clamp(1, geometry.frame_count - 1)
    left = right - 1
    weight = ((moment - middle[left]) / (middle[right] - middle[left])).clamp(0, 1)
    weight = torch.where(weight < 1e-3, 0.0, torch.where(weight > 1 - 1e-3, 1.0, weight))
    need_left, need_right = weight < 1, weight > 0
    usable = (geometry.usable[left] | ~need_left) & (geometry.usable[right] | ~need_right)
    usable &= (geometry.shot[left] == geometry.shot[right]) | ~need_left | ~need_right
    weight = weight.to(geometry.expression.dtype)[:, None]
    return geometry.expression[left] * (1 - weight) + geometry.expression[right] * weight, usable
