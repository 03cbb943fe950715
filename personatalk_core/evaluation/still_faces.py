"""When a head and a mouth are still, and how much points tremble then: what "jitter" means in the report on the fitting.

Jitter is the mean length of the second difference of projected vertices over three neighbouring frames. A head or a mouth
that moves has one of its own, so it is measured where the head is still, and once more where the mouth is still too. All
speeds and distances are shares of the distance between the outer eye corners, in the image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

STILL_HEAD = 0.0025  # of the eye distance a frame: mean path of the upper face's landmarks over four frames, of means of five
STILL_MOUTH = 0.004  # of the eye distance a frame: change of the opening over four frames, of means of three
FEWEST = 10  # frames; a clip with fewer still ones is measured in this many of its stillest


def second_difference(points: Tensor) -> Tensor:
    """(T, K, 2 or more) to (T - 2, K): length of the second difference in the image, pixels."""
    return (points[2:] - 2 * points[1:-1] + points[:-2])[..., :2].norm(dim=-1)


def head_speed(points: Tensor, unit: float, seen: Tensor) -> Tensor:
    """How fast the head moves.

    Args:
        points: (T, K, 2 or more) landmarks of the rigid upper face, pixels.
        unit:   pixels between the outer eye corners.
        seen:   (T,) bool.
    Returns:
        (T,) eye distances a frame; infinite where one of the five frames around is not seen, and at both ends.
    """
    smooth = _smooth(points[..., :2], 5)
    return _over_four(smooth, seen, lambda change: change.norm(dim=-1).mean(1)) / unit


def mouth_speed(opening: Tensor, seen: Tensor) -> Tensor:
    """How fast the opening (T,) changes, a frame, in its own unit; infinite as in :func:`head_speed`."""
    return _over_four(_smooth(opening[:, None], 3)[:, 0], seen, torch.abs)


def still_frames(points: Tensor, unit: float, seen: Tensor) -> Tensor:
    """(T - 2,) bool: inner frames whose head is still, or the ``FEWEST`` stillest where there are fewer of them."""
    speed = head_speed(points, unit, seen)[1:-1]
    still = speed < STILL_HEAD
    if int(still.sum()) < FEWEST and int(torch.isfinite(speed).sum()):
        limit = speed.sort().values[min(FEWEST, int(torch.isfinite(speed).sum())) - 1]
        still = speed <= limit
    return still


def jitter_ratio(points: Tensor, raw: Tensor, frames: Tensor) -> float:
    """Mean second difference of points over that of the raw ones, both (T, K, 2 or more), in chosen inner frames (T - 2,)."""
    if not bool(frames.any()):
        return float("nan")
    return float(second_difference(points)[frames].mean() / second_difference(raw)[frames].mean().clamp_min(1e-9))


def _smooth(values: Tensor, width: int) -> Tensor:
    flat = values.flatten(1).T[None]
    return functional.avg_pool1d(flat, width, 1, width // 2, count_include_pad=False)[0].T.reshape(values.shape)


def _over_four(values: Tensor, seen: Tensor, length) -> Tensor:
    speed = values.new_full((len(values),), float("inf"))
    if len(values) < 5:
        return speed
    whole = torch.stack([seen[k : len(seen) - 4 + k] for k in range(5)]).all(0)
    speed[2:-2] = torch.where(whole, length(values[4:] - values[:-4]) / 4, float("inf"))
    return speed
