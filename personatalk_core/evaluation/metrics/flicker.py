"""Flicker and jitter: what changes from frame to frame although it should not, and when heads and mouths are
still."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from ...geometry.face_model import FaceModel
from ...rendering.fast.surface import corresponding_positions, draw_surface
from ...rendering.surface import sample_at

STILL_OPENING = 0.012  # canonical units a frame: opening changes by less while the mouth is still
STILL_HEAD = 0.0025  # of the eye distance a frame: path of the upper face over four frames, of means of five
STILL_MOUTH = 0.004  # of the eye distance a frame: change of the opening over four frames, of means of three
FEWEST = 10  # frames; a clip with fewer still ones is measured in this many of its stillest


def flicker(
    pixels: Tensor, points: Tensor, opening: Tensor, around: Tensor, face_model: FaceModel, every: int = 1
) -> float:
    """Mean absolute change of a skin point's colour from one frame to the next while the mouth is still.

    The previous frame is carried onto the current one through the mesh, so motion of head and mouth does not
    count.
    Args:
        pixels:  (T, 3, R, R) crops in [0, 1].
        points:  (T, V, 3) vertices in crop pixels.
        opening: (T,) canonical mouth opening; only pairs of frames whose opening differs by less than
            STILL_OPENING count.
        around:  (T, 1, R, R) bool, where to look: ``reconstruction.around_lips``.
        every:   look at every n-th such pair.
    Returns:
        Grey levels of 255; NaN where the mouth is never still.
    """
    frames = check_shape("pixels", pixels, "T", 3, "R", "R")["T"]
    check_shape("points", points, frames, face_model.vertex_count, 3)
    check_shape("mask around the lips", around, frames, 1, *pixels.shape[-2:])
    still = (opening.diff().abs() < STILL_OPENING).nonzero()[:, 0].tolist()[::every]
    values = []
    visibility = torch.ones(1, face_model.vertex_count)
    for t in still:
        surface = draw_surface(points[t + 1 : t + 2], face_model, pixels.shape[-1])[0]
        positions, _ = corresponding_positions(surface, points[t : t + 1], visibility)
        carried = sample_at(pixels[t : t + 1], positions)
        values.append((carried - pixels[t + 1 : t + 2]).abs().mean(dim=1)[around[t + 1]].mean())
    return 255.0 * float(torch.stack(values).nanmean()) if values else float("nan")


def jitter(points: Tensor) -> float:
    """Root mean square of the second difference over time of points (T, K, D), in their unit a frame squared;
    0 in even motion."""
    frames = check_shape("points", points, "T", "K", "D")["T"]
    if frames < 3:
        return float("nan")
    return float(points.diff(n=2, dim=0).square().sum(-1).mean().sqrt())


def second_difference(points: Tensor) -> Tensor:
    """(T, K, 2 or more) to (T - 2, K): length of the second difference in the image, pixels."""
    return (points[2:] - 2 * points[1:-1] + points[:-2])[..., :2].norm(dim=-1)


def head_speed(points: Tensor, unit: float, observed: Tensor) -> Tensor:
    """How fast the head moves.

    Args:
        points: (T, K, 2 or more) landmarks of the rigid upper face, pixels.
        unit:   pixels between the outer eye corners.
        observed: (T,) bool.
    Returns:
        (T,) eye distances a frame; infinite where one of the five frames around is not observed, and at both
        ends.
    """
    smooth = _smooth(points[..., :2], 5)
    return _over_four(smooth, observed, lambda change: change.norm(dim=-1).mean(1)) / unit


def mouth_speed(opening: Tensor, observed: Tensor) -> Tensor:
    """How fast the opening (T,) changes, a frame, in its own unit; infinite as in :func:`head_speed`."""
    return _over_four(_smooth(opening[:, None], 3)[:, 0], observed, torch.abs)


def still_frames(points: Tensor, unit: float, observed: Tensor) -> Tensor:
    """(T - 2,) bool: inner frames whose head is still, or the ``FEWEST`` stillest where there are fewer of
    them."""
    speed = head_speed(points, unit, observed)[1:-1]
    still = speed < STILL_HEAD
    if int(still.sum()) < FEWEST and int(torch.isfinite(speed).sum()):
        limit = speed.sort().values[min(FEWEST, int(torch.isfinite(speed).sum())) - 1]
        still = speed <= limit
    return still


def jitter_ratio(points: Tensor, raw: Tensor, frames: Tensor) -> float:
    """Mean second difference of points over that of the raw ones, both (T, K, 2 or more), in chosen inner
    frames (T - 2,)."""
    if not bool(frames.any()):
        return float("nan")
    return float(
        second_difference(points)[frames].mean() / second_difference(raw)[frames].mean().clamp_min(1e-9)
    )


def _smooth(values: Tensor, width: int) -> Tensor:
    flat = values.flatten(1).T[None]
    return F.avg_pool1d(flat, width, 1, width // 2, count_include_pad=False)[0].T.reshape(values.shape)


def _over_four(values: Tensor, observed: Tensor, length: Callable[[Tensor], Tensor]) -> Tensor:
    speed = values.new_full((len(values),), float("inf"))
    if len(values) < 5:
        return speed
    all_five = torch.stack([observed[k : len(observed) - 4 + k] for k in range(5)]).all(0)
    speed[2:-2] = torch.where(all_five, length(values[4:] - values[:-4]) / 4, float("inf"))
    return speed
