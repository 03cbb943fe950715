"""The terms of equations 1 and 2 against sums worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from personatalk_core.geometry.fitting_terms import (
    ClipTarget,
    FittingWeights,
    landmark_term,
    laplacian_term,
    norm,
    opening_term,
    regularisation_loss,
    resting,
    tempo_loss,
    total_loss,
    velocity_term,
)
from personatalk_core.geometry.initialisation import Coefficients

POINTS = torch.tensor([[[0.0, 0], [1, 1]], [[3.0, 4], [1, 1]], [[3.0, 4], [1, 2]]])  # (3, 2, 2)
STILL = torch.zeros(3, 2, 2)
SEEN = torch.tensor([True, True, True])
WEIGHT = torch.tensor([1.0, 2.0])
PAIR = torch.tensor([[0, 1]])


def coefficients(pose: Tensor, expression: Tensor, identity: Tensor) -> Coefficients:
    """Of a pose vector (T, 6) in units of one pixel."""
    return Coefficients(identity, expression, pose[:, :3], pose[:, 3:5], pose[:, 5].exp())


def target(start: Coefficients) -> ClipTarget:
    """STILL landmarks, seen in every frame."""
    return ClipTarget(STILL, torch.arange(2), WEIGHT, SEEN, start, 1.0, PAIR)


def test_landmark_term_sums_distances():
    # frame 0: 0 + 2*sqrt2; frame 1: 5 + 2*sqrt2; frame 2: 5 + 2*sqrt5
    expected = 10 + 4 * math.sqrt(2) + 2 * math.sqrt(5)
    assert float(landmark_term(POINTS, STILL, SEEN, WEIGHT)) == pytest.approx(expected, rel=1e-6)


def test_velocity_term_compares_motion_not_position():
    assert float(velocity_term(POINTS, STILL, SEEN, WEIGHT)) == pytest.approx(5 + 2 * 1)
    assert float(velocity_term(POINTS + 7, POINTS, SEEN, WEIGHT)) == 0


def test_frames_without_a_face_weigh_nothing():
    seen = torch.tensor([True, False, True])
    assert float(landmark_term(POINTS, STILL, seen, WEIGHT)) == pytest.approx(
        2 * math.sqrt(2) + 5 + 2 * math.sqrt(5), rel=1e-6
    )
    assert float(velocity_term(POINTS, STILL, seen, WEIGHT)) == 0


def test_laplacian_is_zero_on_lines_and_two_norms_at_a_peak():
    line = torch.arange(5.0)[:, None] * torch.tensor([3.0, -4.0])
    assert float(laplacian_term(line)) == 0
    peak = torch.tensor([[0.0, 0], [0, 0], [3, 4], [0, 0], [0, 0]])
    assert float(laplacian_term(peak)) == 5 + 10 + 5
    assert float(laplacian_term(peak[:2])) == 0


def test_tempo_loss_is_the_weighted_sum_of_its_parts():
    pose = torch.zeros(3, 6)
    pose[1, 0] = 1.0  # second difference 2
    expression = torch.zeros(3, 4)
    expression[1, 0], expression[1, 3] = 2.0, 5.0  # lower 4, upper 10
    weights = FittingWeights(velocity=0.5, laplacian_pose=0.2, laplacian_lower=0.2, laplacian_upper=0.1)
    start = coefficients(torch.zeros(3, 6), torch.zeros(3, 4), torch.zeros(2))
    # the start rests, so all of lambda counts
    value = tempo_loss(POINTS, coefficients(pose, expression, torch.zeros(2)), target(start), 2, weights)
    assert float(value) == pytest.approx(0.5 * 7 + 0.2 * 2 + 0.2 * 4 + 0.1 * 10)


def test_regularisation_sums_three_distances():
    identity, mean = torch.tensor([3.0, 4.0]), torch.zeros(2)
    still = torch.zeros(2, 6)
    pose = torch.tensor([1.0, 1, 1, 1, 0, 0]).expand(2, -1)  # 2 from the start
    moved = torch.tensor([[0.0, 2.0], [0, 0]])
    start = target(coefficients(still, torch.zeros(2, 2), mean))
    value = regularisation_loss(coefficients(pose, moved, identity), start)
    assert float(value) == pytest.approx(5 * 2 + 2 + 2 + 2)  # the shape counts once a frame
    value = regularisation_loss(coefficients(still, moved, identity.expand(2, -1)), start)
    assert float(value) == pytest.approx(12)


def test_total_is_landmarks_plus_both_equations():
    weights = FittingWeights(
        landmark=2,
        opening=7,
        tempo=3,
        velocity=1,
        regularisation=5,
        laplacian_pose=0.5,
        laplacian_lower=0,
        laplacian_upper=0,
        pose_speed=2.0,
    )
    zero = torch.zeros(3, 6)
    pose = zero.clone()
    pose[1, 0] = 1.0  # second difference 2; the start rests, so all of lambda counts
    start = target(coefficients(zero + 1, zero, torch.zeros(2)))
    value = total_loss(POINTS, coefficients(pose, zero, torch.zeros(2)), start, 3, weights)
    landmark = float(landmark_term(POINTS, STILL, SEEN, WEIGHT))
    away = math.sqrt(6) + math.sqrt(5) + math.sqrt(6)  # of the pose from its start
    gap = math.sqrt(2) + math.sqrt(13) + math.sqrt(8)
    assert float(value) == pytest.approx(2 * landmark + 7 * gap + 3 * (7 + 0.5 * 2) + 5 * away, rel=1e-6)


def test_opening_term_compares_the_gap_not_the_place():
    # frame 0: (0,0)-(1,1); frame 1: (3,4)-(1,1); frame 2: (3,4)-(1,2)
    assert float(opening_term(POINTS, STILL, SEEN, PAIR)) == pytest.approx(
        math.sqrt(2) + math.sqrt(13) + math.sqrt(8), rel=1e-6
    )
    assert float(opening_term(POINTS + 7, POINTS, SEEN, PAIR)) == 0
    assert float(opening_term(POINTS, STILL, torch.tensor([True, False, False]), PAIR)) == pytest.approx(
        math.sqrt(2)
    )
    assert float(opening_term(POINTS, STILL, SEEN, PAIR[:0])) == 0


def test_lambda_is_whole_at_rest_half_at_its_speed_and_blind_to_jitter():
    assert torch.equal(resting(torch.ones(6, 3), 0.5), torch.ones(4))
    moving = torch.arange(20.0)[:, None] * torch.tensor([0.3, 0.4])  # 0.5 a frame
    assert torch.allclose(resting(moving, 0.5)[4:-4], torch.full((10,), 0.5))
    assert torch.equal(resting(moving, 0.0), torch.ones(18))
    jitter = torch.tensor([1.0, -1.0]).repeat(10)[:, None]
    assert float(resting(jitter, 0.5)[2:-2].min()) > 0.95  # it moves by 2 a frame, but goes nowhere
    assert resting(moving[:2], 0.5).shape == (0,)


def test_lambda_counts_less_where_less_rests():
    peak = torch.tensor([[0.0, 0], [0, 0], [3, 4], [0, 0], [0, 0]])
    assert float(laplacian_term(peak, torch.tensor([1.0, 0.5, 0.0]))) == 5 + 5 + 0


def test_norm_has_a_finite_gradient_at_zero():
    value = torch.zeros(2, 3, requires_grad=True)
    norm(value).sum().backward()
    assert torch.equal(value.grad, torch.zeros(2, 3))
