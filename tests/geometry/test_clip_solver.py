"""The solver: derivatives against autograd, the block system against a dense one, lower loss than gradient
descent."""

from dataclasses import replace

import pytest
import torch

import personatalk_core.geometry.clip_solver as solver
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.fitting_terms import ClipTarget, FittingWeights, from_pose_vector, pose_vector
from personatalk_core.geometry.initialisation import Coefficients, reconstruct


@pytest.fixture(scope="module")
def model():
    return load_face_model()


def target_of(model, frames=6, noise=0.4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    t = torch.linspace(0, 1, frames)
    start = Coefficients(
        torch.randn(model.identity_count, generator=generator) * 0.3,
        torch.randn(frames, model.expression_count, generator=generator) * 0.3,
        torch.stack([0.1 * t, 0.4 - 0.2 * t, 0.05 + 0 * t], 1),
        torch.stack([120 + 8 * t, 110 + 0 * t], 1),
        80 + 2 * t,
    )
    vertex = torch.arange(0, 468, 9)
    landmarks = reconstruct(start, model, vertex)[..., :2]
    landmarks = landmarks + torch.randn(landmarks.shape, generator=generator) * noise
    pairs = torch.tensor([[1, 2], [30, 40]])
    return ClipTarget(
        landmarks, vertex, torch.ones(len(vertex)), torch.ones(frames, dtype=torch.bool), start, 80.0, pairs
    )


def test_jacobian_equals_autograd(model):
    target = target_of(model, frames=2)
    points, jacobian = solver._points_and_jacobian(target.start, target, model)
    pose = pose_vector(target.start, target.unit).double()

    def of(values):
        now = from_pose_vector(values[:, :6], values[:, 6:], target.start.identity.double(), target.unit)
        double = replace(
            model, **{n: getattr(model, n).double() for n in ("mean", "identity_basis", "expression_basis")}
        )
        return reconstruct(now, double, target.vertex)[..., :2] / target.unit

    values = torch.cat([pose, target.start.expression.double()], 1)
    torch.testing.assert_close(points, of(values), atol=1e-6, rtol=0)
    truth = torch.autograd.functional.jacobian(of, values)  # (T, K, 2, T, P)
    for t in range(2):
        torch.testing.assert_close(jacobian[t], truth[t, :, :, t].flatten(0, 1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 7])
def test_block_cholesky_equals_a_dense_solve(frames):
    generator = torch.Generator().manual_seed(frames)
    width = 3
    dense = torch.zeros(frames * width, frames * width, dtype=torch.float64)
    blocks = torch.randn(3, frames, width, width, generator=generator, dtype=torch.float64)
    blocks[0] = blocks[0] @ blocks[0].mT + 20 * torch.eye(width)
    for distance in range(3):
        blocks[distance, max(frames - distance, 0) :] = 0
        for t in range(frames - distance):
            a, b = (
                slice(t * width, (t + 1) * width),
                slice((t + distance) * width, (t + distance + 1) * width),
            )
            dense[a, b] = blocks[distance, t]
            dense[b, a] = blocks[distance, t].T
    right = torch.randn(frames, width, generator=generator, dtype=torch.float64)
    expected = torch.linalg.solve(dense, right.reshape(-1)).reshape(frames, width)
    torch.testing.assert_close(solver.solve_blocks(blocks, right), expected)


def test_never_worse_than_the_start_and_better_than_gradient_descent(model):
    target, weights = target_of(model), FittingWeights()
    solved = solver.solve_clip(target, model, weights, steps=8)
    reached = float(solver.clip_loss(solved, target, model, weights))
    assert reached < float(solver.clip_loss(target.start, target, model, weights))
    values = torch.cat([pose_vector(target.start, target.unit), target.start.expression], 1).requires_grad_()
    optimiser = torch.optim.Adam([values], lr=5e-3)
    for _ in range(80):
        optimiser.zero_grad()
        now = from_pose_vector(values[:, :6], values[:, 6:], target.start.identity, target.unit)
        loss = solver.clip_loss(now, target, model, weights)
        loss.backward()
        optimiser.step()
    assert reached < 1.02 * float(loss)


def test_a_single_frame_and_no_landmarks_at_all_are_solved(model):
    target = target_of(model, frames=1)
    assert torch.isfinite(solver.solve_clip(target, model, FittingWeights()).expression).all()
    blind = replace(target_of(model), observed=torch.zeros(6, dtype=torch.bool))
    solved = solver.solve_clip(blind, model, FittingWeights())
    assert torch.isfinite(solved.rotation).all() and torch.isfinite(solved.expression).all()
