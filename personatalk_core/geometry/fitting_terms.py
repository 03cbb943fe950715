"""The terms that the fitting minimises: equations 1 and 2 of paper 3.1, each a function of its own.

Every norm is the plain (not squared) L2 norm, as printed: a sum of norms forgives a few large residuals, so a lip that
snaps shut stays shut while jitter is smoothed. Key points are measured in units of the eye distance (canonical units),
expression in standard deviations, pose as (rotation in radians, translation / scale, log scale), so that one weight fits
every image size. Frames without a face carry no landmark terms.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class FittingWeights:
    """What each term counts, chosen on training clips.

    landmark: distance to the landmarks (the paper follows Gecer et al. 2019 for it).  tempo: all of eq. 1.
    velocity: its first part, 1 in the paper; with it at 1 the fit follows the landmarker's own jitter (jitter on still heads
    0.60 of the raw landmarks' instead of 0.52 at the same error).  laplacian_pose, laplacian_lower, laplacian_upper:
    lambda for pose, for expression of the lower face (the first ``lower_count`` columns, which must keep every closing of
    the lips) and for the rest; 0.2 in the paper, whose count of key points and units are not given.
    regularisation: eq. 2.
    """

    landmark: float = 1.0
    tempo: float = 1.0
    velocity: float = 0.2
    laplacian_pose: float = 70.0
    laplacian_lower: float = 0.35
    laplacian_upper: float = 4.0
    regularisation: float = 0.02


def norm(residual: Tensor) -> Tensor:
    """L2 norm over the last axis, with a gradient of zero at zero."""
    squared = residual.square().sum(-1)
    return torch.where(squared > 0, squared.clamp_min(1e-24).sqrt(), torch.zeros_like(squared))


def landmark_term(points: Tensor, landmarks: Tensor, seen: Tensor, weight: Tensor) -> Tensor:
    """Sum over frames and key points of ||kp - kp_bar||.

    Args:
        points, landmarks: (T, K, 2), the same unit.
        seen:   (T,) bool, frames with a face.
        weight: (K,).
    """
    return (norm(points - landmarks) * weight * seen[:, None]).sum()


def velocity_term(points: Tensor, landmarks: Tensor, seen: Tensor, weight: Tensor) -> Tensor:
    """First part of eq. 1: sum of ||(kp_{t+1} - kp_t) - (kp_bar_{t+1} - kp_bar_t)|| over pairs of frames with a face."""
    both = seen[1:] & seen[:-1]
    return (norm(points.diff(dim=0) - landmarks.diff(dim=0)) * weight * both[:, None]).sum()


def laplacian_term(values: Tensor) -> Tensor:
    """Second part of eq. 1: sum over inner frames of ||v_{t-1} - 2 v_t + v_{t+1}||; values (T, N)."""
    return norm(values[2:] - 2 * values[1:-1] + values[:-2]).sum()


def tempo_loss(points, landmarks, seen, weight, pose, expression, lower_count: int, weights: FittingWeights) -> Tensor:
    """L_tempo, eq. 1. pose (T, 6), expression (T, E)."""
    lower, upper = expression[:, :lower_count], expression[:, lower_count:]
    smooth = weights.laplacian_lower * laplacian_term(lower) + weights.laplacian_upper * laplacian_term(upper)
    motion = weights.velocity * velocity_term(points, landmarks, seen, weight)
    return motion + weights.laplacian_pose * laplacian_term(pose) + smooth


def regularisation_loss(identity, identity_mean, expression, expression_start, pose, pose_start) -> Tensor:
    """L_reg, eq. 2: coefficients stay near where they started and the shape near its mean over the clip.

    identity (A,) shared, or (T, A); identity_mean (A,); expression and expression_start (T, E); pose and pose_start (T, 6).
    """
    shape = norm(identity - identity_mean).sum() * (1 if identity.ndim == 2 else len(expression))
    return shape + norm(expression - expression_start).sum() + norm(pose - pose_start).sum()


def total_loss(
    points, landmarks, seen, weight, pose, pose_start, expression, expression_start, identity, identity_mean, lower_count, weights
) -> Tensor:
    """What the fitting minimises: landmark term + L_tempo + L_reg."""
    return (
        weights.landmark * landmark_term(points, landmarks, seen, weight)
        + weights.tempo * tempo_loss(points, landmarks, seen, weight, pose, expression, lower_count, weights)
        + weights.regularisation * regularisation_loss(identity, identity_mean, expression, expression_start, pose, pose_start)
    )
