"""Minimise the fitting terms over a whole window of frames by reweighted Gauss-Newton steps.

A sum of norms is a weighted sum of squares whose weights are 1 / norm (iteratively reweighted least squares).
All terms link only frames t, t + 1 and t + 2, so each step is one banded system, solved exactly in time
linear in the frames: five steps do what thousands of gradient steps would, and windows agree where they
overlap because each is at its minimum.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import einsum, rearrange
from torch import Tensor

from .camera import rotation_matrix
from .face_model import FaceModel
from .fitting_terms import ClipTarget, FittingWeights, from_pose_vector, pose_vector, resting, total_loss
from .initialisation import Coefficients, reconstruct

POSE = 6  # rotation 3, translation 2, log scale 1
STEPS = 5
LAPLACIAN = (1, -2, 1)
POSE_COLUMNS = slice(0, POSE)
POINT_FLOOR = POSE_FLOOR = 2e-3  # norms below these count as squares: no step divides by zero
EXPRESSION_FLOOR = 0.05


def clip_loss(
    coefficients: Coefficients, target: ClipTarget, face_model: FaceModel, weights: FittingWeights
) -> Tensor:
    """The value being minimised, for a report or a test."""
    points = reconstruct(coefficients, face_model, target.vertex)[..., :2] / target.unit
    return total_loss(points, coefficients, target, face_model.lower_count, weights)


def solve_clip(
    target: ClipTarget,
    face_model: FaceModel,
    weights: FittingWeights,
    steps: int = STEPS,
    on_step: Callable[[], None] = lambda: None,
) -> Coefficients:
    """Optimise pose and expression of a window; the identity stays the clip's. ``on_step`` is called after
    each step; it may raise.

    Returns:
        Coefficients with the lowest loss seen; never above the start's.
    """
    now = best = target.start
    lowest = clip_loss(best, target, face_model, weights)
    for _ in range(steps):
        now = _step(now, target, face_model, weights)
        loss = clip_loss(now, target, face_model, weights)
        on_step()
        if loss < lowest:
            lowest, best = loss, now
    return best


def _step(
    now: Coefficients, target: ClipTarget, face_model: FaceModel, weights: FittingWeights
) -> Coefficients:
    """One Gauss-Newton step from ``now``; the norms of its residuals weigh them."""
    points, jacobian = _points_and_jacobian(now, target, face_model)  # (T, K, 2), (T, 2K, P)
    observed = target.observed.to(points.dtype)
    residual = points - target.in_units()
    pose, pose_start = pose_vector(now, target.unit), pose_vector(target.start, target.unit)
    expression, expression_start = now.expression.double(), target.start.expression.double()
    system = NormalEquations(points, POSE + face_model.expression_count)

    # landmark and opening terms
    system.add_points(residual, weights.landmark * target.weight * observed[:, None], jacobian)
    if weights.opening and len(target.lip_pairs):
        by_point = rearrange(jacobian, "t (k i) p -> t k i p", i=2)
        upper, lower = target.lip_pairs.unbind(1)
        gap = rearrange(by_point[:, upper] - by_point[:, lower], "t n i p -> t (n i) p")
        system.add_points(residual[:, upper] - residual[:, lower], weights.opening * observed[:, None], gap)

    # L_tempo, eq. 1
    velocity = weights.tempo * weights.velocity
    if len(points) > 1 and velocity:
        both = (observed[1:] * observed[:-1])[:, None]
        system.add_velocity(residual.diff(dim=0), velocity * target.weight * both, jacobian)
    if weights.tempo:
        count = face_model.lower_count
        pose_rest = resting(pose_start, weights.pose_speed)
        lower_rest = resting(expression_start[:, :count], weights.lower_speed)
        lower, upper = slice(POSE, POSE + count), slice(POSE + count, None)
        for values, columns, floor, weight in (
            (pose.double(), POSE_COLUMNS, POSE_FLOOR, weights.tempo * weights.laplacian_pose * pose_rest),
            (
                expression[:, :count],
                lower,
                EXPRESSION_FLOOR,
                weights.tempo * weights.laplacian_lower * lower_rest,
            ),
            (expression[:, count:], upper, EXPRESSION_FLOOR, weights.tempo * weights.laplacian_upper),
        ):
            system.add_stencil(values, columns, floor, weight, LAPLACIAN)

    # L_reg, eq. 2; without it the system would be singular where no landmark is
    regularisation = max(weights.regularisation, 1e-6)
    system.add_stencil((pose - pose_start).double(), POSE_COLUMNS, POSE_FLOOR, regularisation, (1,))
    system.add_stencil(
        expression - expression_start, slice(POSE, None), EXPRESSION_FLOOR, regularisation, (1,)
    )

    change = system.solve().to(now.expression.dtype)
    return from_pose_vector(
        pose + change[:, :POSE], now.expression + change[:, POSE:], now.identity, target.unit
    )


class NormalEquations:
    """The normal equations of a window, J^T W J x = -J^T W r, to which terms are added one by one.

    blocks (3, T, P, P): blocks[d, t] couples frames t and t + d.  right (T, P): the right-hand side. P: six
    of the pose, then the expression. Float64, as the points they are made for.
    """

    def __init__(self, points: Tensor, width: int) -> None:
        self.blocks = points.new_zeros((3, len(points), width, width))
        self.right = points.new_zeros((len(points), width))

    def add_points(self, residual: Tensor, weight: Tensor, jacobian: Tensor) -> None:
        """Add a term of single frames: residual (T, N, 2), weight (T, N), jacobian (T, 2N, P)."""
        scaled = jacobian * _reweighted(residual, weight)
        self.blocks[0] += scaled.mT @ jacobian
        self.right -= einsum(scaled, rearrange(residual, "t k c -> t (k c)"), "t n p, t n -> t p")

    def add_velocity(self, residual: Tensor, weight: Tensor, jacobian: Tensor) -> None:
        """Add the term of neighbouring frames: residual (T - 1, K, 2) of their difference, weight (T - 1, K),
        jacobian (T, 2K, P) of each frame's points."""
        factor, flat = _reweighted(residual, weight), rearrange(residual, "t k c -> t (k c)")
        early, late = jacobian[:-1], jacobian[1:]
        scaled_early, scaled_late = early * factor, late * factor
        self.blocks[0, :-1] += scaled_early.mT @ early
        self.blocks[0, 1:] += scaled_late.mT @ late
        self.blocks[1, :-1] -= scaled_early.mT @ late
        self.right[:-1] += einsum(scaled_early, flat, "t n p, t n -> t p")
        self.right[1:] -= einsum(scaled_late, flat, "t n p, t n -> t p")

    def add_stencil(
        self,
        values: Tensor,
        columns: slice,
        floor: float,
        weight: Tensor | float,
        stencil: tuple[int, ...],
    ) -> None:
        """Add the sum over frames of weight * ||stencil over values||, values (T, N) of the given columns.

        The stencil (1,) keeps them near zero, (1, -2, 1) is their Laplacian. Norms below ``floor`` count as
        squares.
        """
        reach = len(stencil)
        if len(values) < reach:
            return
        count = len(values) - reach + 1
        residual = torch.zeros_like(values[:count])
        for k, s in enumerate(stencil):
            residual = residual + s * values[k : k + count]
        factor = (weight / residual.norm(dim=-1).clamp_min(floor))[:, None]
        for i, a in enumerate(stencil):
            self.right[i : i + count, columns] -= a * factor * residual
            for j in range(i, reach):
                diagonal = self.blocks[j - i, i : i + count].diagonal(dim1=1, dim2=2)
                diagonal[:, columns] += a * stencil[j] * factor

    def solve(self) -> Tensor:
        """(T, P) the step."""
        return solve_blocks(self.blocks, self.right)


def _reweighted(residual: Tensor, weight: Tensor) -> Tensor:
    """weight / norm of each residual, for both of its coordinates: (T, N, 2) and (T, N) to (T, 2N, 1)."""
    factor = weight / residual.norm(dim=-1).clamp_min(POINT_FLOOR)
    return rearrange(torch.stack([factor, factor], -1), "t k c -> t (k c) 1")


def _points_and_jacobian(
    now: Coefficients, target: ClipTarget, face_model: FaceModel
) -> tuple[Tensor, Tensor]:
    """Projected key points in units (T, K, 2), and their derivative by pose and expression (T, 2K, 6 + E);
    float64."""
    vertex, unit = target.vertex, target.unit
    basis = face_model.expression_basis[:, vertex].double()
    shape = face_model.mean[vertex] + einsum(
        now.identity, face_model.identity_basis[:, vertex], "a, a k c -> k c"
    )
    shape = shape.double() + einsum(now.expression.double(), basis, "t e, e k c -> t k c")
    omega = now.rotation.double()
    rotation, scale = rotation_matrix(omega), now.scale.double() / unit
    flip = torch.tensor([1.0, -1.0], dtype=torch.float64)
    camera = rotation[:, :2] * (scale[:, None] * flip)[..., None]  # (T, 2, 3)
    turned = einsum(camera, shape, "t i j, t k j -> t k i")
    points = turned + now.translation.double()[:, None] / unit
    # d(R X)/d omega = -R [X]x J_r(omega): rows of camera crossed with X, times the right Jacobian
    spin = (
        torch.linalg.cross(shape[:, :, None], camera[:, None], dim=-1) @ _right_jacobian(omega)[:, None]
    )  # (T, K, 2, 3)
    frames, count = points.shape[:2]
    shift = torch.eye(2, dtype=torch.float64).expand(frames, count, 2, 2)
    by_expression = einsum(camera, basis, "t i j, e k j -> t k i e")
    return points, rearrange(
        torch.cat([spin, shift, turned[..., None], by_expression], -1), "t k i p -> t (k i) p"
    )


def _right_jacobian(omega: Tensor) -> Tensor:
    """(T, 3, 3) with exp(omega + d) = exp(omega) exp(J_r d) to first order."""
    squared = omega.square().sum(-1)
    small = squared < 1e-8
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    first = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / angle.square())
    second = torch.where(small, 1 / 6 - squared / 120, (angle - angle.sin()) / angle**3)
    x, y, z = omega.unbind(-1)
    zero = torch.zeros_like(x)
    cross = rearrange(torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1), "t (i j) -> t i j", i=3)
    return (
        torch.eye(3, dtype=omega.dtype)
        - first[:, None, None] * cross
        + second[:, None, None] * (cross @ cross)
    )


def solve_blocks(blocks: Tensor, right: Tensor) -> Tensor:
    """Solve the symmetric system that links frames up to two apart, by block Cholesky over pairs of frames.

    Args:
        blocks: (3, T, P, P): blocks[d, t] is the coupling of frame t (rows) with frame t + d (columns);
            positive definite.
        right:  (T, P).
    Returns:
        (T, P).
    """
    frames, width = right.shape
    pairs = -(-frames // 2)
    padded = blocks.new_zeros((3, 2 * pairs, width, width))
    padded[:, :frames] = blocks
    if frames % 2:
        # a frame that nothing touches
        padded[0, -1] = torch.eye(width, dtype=blocks.dtype, device=blocks.device)
    even, odd = padded[:, 0::2], padded[:, 1::2]  # (3, pairs, P, P)
    diagonal = torch.cat(
        [torch.cat([even[0], even[1]], 2), torch.cat([even[1].mT, odd[0]], 2)], 1
    )  # (pairs, 2P, 2P)
    following = torch.cat(
        [torch.cat([even[2], torch.zeros_like(even[2])], 2), torch.cat([odd[1], odd[2]], 2)], 1
    )
    target = torch.cat([right, right.new_zeros((2 * pairs - frames, width))]).reshape(pairs, 2 * width, 1)
    factors, reduced, halfway = [], [], []
    pivot, value = diagonal[0], target[0]
    for k in range(pairs):
        lower = torch.linalg.cholesky(pivot)
        both = torch.linalg.solve_triangular(lower, torch.cat([following[k], value], 1), upper=False)
        link, settled = both[:, :-1], both[:, -1:]
        factors.append(lower)
        reduced.append(link)
        halfway.append(settled)
        if k + 1 < pairs:
            pivot, value = diagonal[k + 1] - link.T @ link, target[k + 1] - link.T @ settled
    solution = [torch.zeros_like(target[0])] * pairs
    for k in reversed(range(pairs)):
        known = halfway[k] - reduced[k] @ solution[k + 1] if k + 1 < pairs else halfway[k]
        solution[k] = torch.linalg.solve_triangular(factors[k].T, known, upper=True)
    return torch.stack(solution).reshape(2 * pairs, width)[:frames]
