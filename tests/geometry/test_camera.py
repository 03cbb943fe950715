"""The camera: known rotations, the inverse, and the stated image convention."""

import math

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.geometry.camera import axis_angle, project, rotation_matrix


def test_quarter_turns_are_the_known_matrices():
    quarter = math.pi / 2
    turns = rotation_matrix(torch.tensor([[0, 0, quarter], [quarter, 0, 0], [0, 0, 0]]))
    torch.testing.assert_close(
        turns[0] @ torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        turns[1] @ torch.tensor([0.0, 1, 0]), torch.tensor([0.0, 0, 1]), atol=1e-6, rtol=0
    )
    assert torch.equal(turns[2], torch.eye(3))


def test_equals_the_matrix_exponential_down_to_tiny_angles():
    vectors = (
        torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).double()
        * torch.logspace(-9, 0, 20).double()[:, None]
    )
    x, y, z = vectors.unbind(1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], 1).reshape(-1, 3, 3)
    torch.testing.assert_close(rotation_matrix(vectors), torch.linalg.matrix_exp(cross), atol=1e-11, rtol=0)
    torch.testing.assert_close(axis_angle(rotation_matrix(vectors)), vectors, atol=1e-8, rtol=1e-6)


def test_gradient_is_finite_at_zero():
    vector = torch.zeros(1, 3, requires_grad=True)
    rotation_matrix(vector)[0, 0, 1].backward()
    torch.testing.assert_close(vector.grad, torch.tensor([[0.0, 0, -1]]))


def test_projection_follows_the_stated_convention():
    points = project(
        torch.tensor([[[0.5, 0.25, 0.1]]]),
        torch.zeros(1, 3),
        torch.tensor([[100.0, 80.0]]),
        torch.tensor([40.0]),
    )
    # right of the centre, above it, nearer
    torch.testing.assert_close(points, torch.tensor([[[120.0, 70.0, 4.0]]]))


def test_refuses_other_frame_counts():
    with pytest.raises(ShapeError, match="scale"):
        project(torch.zeros(2, 4, 3), torch.zeros(2, 3), torch.zeros(2, 2), torch.ones(3))
