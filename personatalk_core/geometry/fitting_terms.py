"""The terms that the fitting minimises: equations 1 and 2 of paper 3.1, each a function of its own.

Every norm is the plain (not squared) L2 norm, as printed: a sum of norms forgives a few large residuals, so a
lip that snaps shut stays shut while jitter is smoothed. Key points are measured in units of the eye distance
(canonical units), expression in standard deviations, pose as (rotation in radians, translation / scale, log
scale), so that one weight fits every image size. Frames without a face carry no landmark terms. Two things
are added to the paper's terms: lambda is at its full size only where a face rests, and the gap between the
lips is a term of its own, so that smoothing opens no closed mouth.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from .initialisation import Coefficients, Landmarks


@dataclass(frozen=True)
class FittingWeights:
    """What each term counts, chosen on 16 training clips by the rule of
    ``personatalk_core.evaluation.studies.geometry_fit_choice``.

    landmark: distance to the landmarks (the paper follows Gecer et al. 2019 for it).  opening: the gap
    between the inner lips, not in the paper; both lips tremble together, so their gap is the stillest thing
    that the landmarks say.
    tempo: all of eq. 1.  velocity: its first part, 1 in the paper; at 1 the fit follows the landmarker's own
    jitter. laplacian_pose, laplacian_lower, laplacian_upper: lambda for pose, for expression of the lower
    face (the first ``lower_count`` columns) and for the rest; 0.2 in the paper, whose count of key points and
    units are not given.
    pose_speed, lower_speed: how fast the head (units or radians a frame) and the lower face (standard
    deviations a frame) move where their lambda is halved; 0 keeps it everywhere, as in the paper.
    regularisation: eq. 2.
    """

    landmark: float = 1.0
    opening: float = 10.0
    tempo: float = 1.0
    velocity: float = 0.05
    laplacian_pose: float = 400.0
    laplacian_lower: float = 4.0
    laplacian_upper: float = 0.5
    pose_speed: float = 0.005
    lower_speed: float = 0.2
    regularisation: float = 0.02


@dataclass(frozen=True, eq=False)
class ClipTarget:
    """What a clip, or a window of it, is fitted to.

    landmarks (T, K, 2) px of key vertices.  vertex (K,): those vertices.  weight (K,): how much each counts.
    observed (T,) bool: frames with a face.  start: initial coefficients.  unit: pixels that count as one, for
    the whole clip.  lip_pairs (N, 2): which of the K are opposite each other on the lips.
    """

    landmarks: Landmarks
    vertex: Tensor
    weight: Tensor
    observed: Tensor
    start: Coefficients
    unit: float
    lip_pairs: Tensor = field(default_factory=lambda: torch.zeros((0, 2), dtype=torch.int64))

    def in_units(self) -> Tensor:
        """(T, K, 2) landmarks over ``unit``."""
        return self.landmarks[:] / self.unit

    def window(self, frames: Tensor) -> ClipTarget:
        """Some frames of the clip."""
        return replace(
            self,
            landmarks=self.landmarks[frames],
            observed=self.observed[frames],
            start=self.start[frames],
        )


def pose_vector(coefficients: Coefficients, unit: float) -> Tensor:
    """(T, 6) rotation in radians, translation / unit, log(scale / unit)."""
    scale = (coefficients.scale / unit).log()[:, None]
    return torch.cat([coefficients.rotation, coefficients.translation / unit, scale], 1)


def from_pose_vector(pose: Tensor, expression: Tensor, identity: Tensor, unit: float) -> Coefficients:
    """The inverse of :func:`pose_vector`."""
    return Coefficients(identity, expression, pose[:, :3], pose[:, 3:5] * unit, pose[:, 5].exp() * unit)


def norm(residual: Tensor) -> Tensor:
    """L2 norm over the last axis, with a gradient of zero at zero."""
    squared = residual.square().sum(-1)
    return torch.where(squared > 0, squared.clamp_min(1e-24).sqrt(), torch.zeros_like(squared))


def landmark_term(points: Tensor, landmarks: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """Sum over frames and key points of ||kp - kp_bar||.

    Args:
        points, landmarks: (T, K, 2), the same unit.
        observed: (T,) bool, frames with a face.
        weight:   (K,).
    """
    return (norm(points - landmarks) * weight * observed[:, None]).sum()


def velocity_term(points: Tensor, landmarks: Tensor, observed: Tensor, weight: Tensor) -> Tensor:
    """First part of eq. 1: sum of ||(kp_{t+1} - kp_t) - (kp_bar_{t+1} - kp_bar_t)|| over pairs of frames with
    a face."""
    both = observed[1:] & observed[:-1]
    return (norm(points.diff(dim=0) - landmarks.diff(dim=0)) * weight * both[:, None]).sum()


def opening_term(points: Tensor, landmarks: Tensor, observed: Tensor, lip_pairs: Tensor) -> Tensor:
    """Sum over frames and pairs of ||(kp_upper - kp_lower) - (kp_bar_upper - kp_bar_lower)||; lip_pairs (N,
    2) of key points."""
    upper, lower = lip_pairs.unbind(1)
    residual = points - landmarks
    return (norm(residual[:, upper] - residual[:, lower]) * observed[:, None]).sum()


def laplacian_term(values: Tensor, rest: Tensor | float = 1.0) -> Tensor:
    """Second part of eq. 1: sum over inner frames of rest * ||v_{t-1} - 2 v_t + v_{t+1}||; values (T, N),
    rest (T - 2,)."""
    return (rest * norm(values[2:] - 2 * values[1:-1] + values[:-2])).sum()


def resting(values: Tensor, speed: float) -> Tensor:
    """How much of lambda counts in each inner frame: 1 / (1 + (rate / speed)^2).

    Args:
        values: (T, N), where the optimisation starts; their rate a frame is read off means of five frames, so
            that jitter does not count as motion.
        speed:  the rate at which a half counts, in units of the values a frame; 0: all counts everywhere.
    Returns:
        (T - 2,) in (0, 1]; empty below three frames.
    """
    inner = max(len(values) - 2, 0)
    if speed == 0 or inner == 0:
        return values.new_ones(inner)
    padded = functional.pad(values.T, (4, 4), mode="replicate")
    mean = functional.avg_pool1d(padded, 5, 1).T  # (T + 4, N)
    rate = (mean[4:] - mean[:-4]).norm(dim=-1) / 4  # (T,)
    return 1 / (1 + (rate / speed).square())[1:-1]


def tempo_loss(
    points: Tensor, now: Coefficients, target: ClipTarget, lower_count: int, weights: FittingWeights
) -> Tensor:
    """L_tempo, eq. 1: key points move as the landmarks do, coefficients without jerks.

    Args:
        points:      (T, K, 2) key points of ``now``, in units of ``target``.
        lower_count: how many columns of the expression move the lower face.
    """
    start, pose = target.start, pose_vector(now, target.unit)
    lower, upper = now.expression[:, :lower_count], now.expression[:, lower_count:]
    pose_rest = resting(pose_vector(start, target.unit), weights.pose_speed)
    lower_rest = resting(start.expression[:, :lower_count], weights.lower_speed)
    smooth = weights.laplacian_lower * laplacian_term(
        lower, lower_rest
    ) + weights.laplacian_upper * laplacian_term(upper)
    motion = weights.velocity * velocity_term(points, target.in_units(), target.observed, target.weight)
    return motion + weights.laplacian_pose * laplacian_term(pose, pose_rest) + smooth


def regularisation_loss(now: Coefficients, target: ClipTarget) -> Tensor:
    """L_reg, eq. 2: coefficients stay near where they started and the shape near its mean over the clip (the
    start's). The identity is (A,) for the clip, or (T, A)."""
    start, identity = target.start, now.identity
    pose, pose_start = pose_vector(now, target.unit), pose_vector(start, target.unit)
    shape = norm(identity - start.identity).sum() * (1 if identity.ndim == 2 else len(now.expression))
    return shape + norm(now.expression - start.expression).sum() + norm(pose - pose_start).sum()


def total_loss(
    points: Tensor, now: Coefficients, target: ClipTarget, lower_count: int, weights: FittingWeights
) -> Tensor:
    """What the fitting minimises: landmark and opening terms + L_tempo + L_reg. Args as of
    :func:`tempo_loss`."""
    landmarks, observed = target.in_units(), target.observed
    return (
        weights.landmark * landmark_term(points, landmarks, observed, target.weight)
        + weights.opening * opening_term(points, landmarks, observed, target.lip_pairs)
        + weights.tempo * tempo_loss(points, now, target, lower_count, weights)
        + weights.regularisation * regularisation_loss(now, target)
    )
