"""Flicker and jitter: what changes from frame to frame although it should not."""

from __future__ import annotations

import torch
from torch import Tensor

from ...checks import check_shape
from ...geometry.face_model import FaceModel
from ...rendering.surface import corresponding_positions, draw_surface, sample_at

STILL = 0.012  # canonical units a frame: opening changes by less while the mouth is still


def flicker(
    pixels: Tensor, points: Tensor, opening: Tensor, around: Tensor, face_model: FaceModel, every: int = 1
) -> float:
    """Mean absolute change of a skin point's colour from one frame to the next while the mouth is still.

    The previous frame is carried onto the current one through the mesh, so motion of head and mouth does not
    count.
    Args:
        pixels:  (T, 3, R, R) crops in [0, 1].
        points:  (T, V, 3) vertices in crop pixels.
        opening: (T,) canonical mouth opening; only pairs of frames whose opening differs by less than STILL
            count.
        around:  (T, 1, R, R) bool, where to look: ``lip_detail.around_lips``.
        every:   look at every n-th such pair.
    Returns:
        Grey levels of 255; NaN where the mouth is never still.
    """
    frames = check_shape("pixels", pixels, "T", 3, "R", "R")["T"]
    check_shape("points", points, frames, face_model.vertex_count, 3)
    check_shape("mask around the lips", around, frames, 1, *pixels.shape[-2:])
    still = (opening.diff().abs() < STILL).nonzero()[:, 0].tolist()[::every]
    values = []
    seen = torch.ones(1, face_model.vertex_count)
    for t in still:
        surface = draw_surface(points[t + 1 : t + 2], face_model, pixels.shape[-1])[0]
        positions, _ = corresponding_positions(surface, points[t : t + 1], seen)
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
