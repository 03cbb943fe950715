"""Which references are blended, and weights that leave no bias towards the middle of the references."""

from __future__ import annotations

import torch

from personatalk_core.rendering.similarity import (
    MAX_CORRECTION,
    corrected,
    geometric_logits,
    linear_correction,
    topk_references,
    visible_weights,
)


def test_the_nearest_come_first_and_only_those_allowed():
    difference = torch.tensor([[4.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [90.0, 0.0]])
    allowed = torch.tensor([[True, True, True, False, True], [False, False, True, True, False]])
    both, sharpness = difference.expand(2, -1, -1), torch.tensor([1.0, 2.0])
    # 90 would hardly weigh
    assert topk_references(both, sharpness, allowed).tolist() == [
        [1, 2, 0, -1, -1],
        [3, 2, -1, -1, -1],
    ]
    assert topk_references(both, sharpness, allowed, count=2).tolist() == [[1, 2], [3, 2]]


def test_the_blend_has_the_targets_own_shape():
    """A mouth beside all its references but one: plain weights pull it back to them, corrected ones do
    not."""
    shape = torch.tensor([[[-0.03], [-0.02], [-0.01], [0.01]]])
    logits = -2000.0 * shape.square().sum(dim=2)
    weights = torch.softmax(logits, dim=1)
    raw = weights * linear_correction(shape, torch.zeros(1, 4, 9), logits)
    assert torch.isclose(raw.sum(), torch.tensor(1.0), atol=1e-3)
    better = raw / raw.sum()
    assert abs(float(better[0] @ shape[0, :, 0])) < 0.15 * abs(float(weights[0] @ shape[0, :, 0]))


def test_targets_with_fewer_references_are_corrected_as_alone():
    generator = torch.Generator().manual_seed(0)
    shape, pose = (
        0.02 * torch.randn(2, 5, 6, generator=generator),
        0.1 * torch.randn(2, 5, 9, generator=generator),
    )
    logits = -2000.0 * shape.square().mean(dim=2)
    alone = linear_correction(shape[:1, :3], pose[:1, :3], logits[:1, :3])
    logits[0, 3:] = -torch.inf
    assert torch.allclose(linear_correction(shape, pose, logits)[0, :3], alone[0], atol=1e-4)


def test_one_reference_or_equal_ones_keep_their_weights():
    zero = torch.zeros(1, 3, 9)
    assert torch.allclose(linear_correction(torch.zeros(1, 3, 5), zero, torch.zeros(1, 3)), torch.ones(1, 3))
    assert torch.allclose(
        linear_correction(torch.full((1, 1, 5), 0.1), zero[:, :1], torch.zeros(1, 1)),
        torch.ones(1, 1),
        atol=1e-4,
    )


def test_the_correction_is_bounded():
    generator = torch.Generator().manual_seed(0)
    shape, pose = torch.randn(1, 12, 40, generator=generator), torch.randn(1, 12, 9, generator=generator)
    factor = linear_correction(shape, pose, -100.0 * torch.rand(1, 12, generator=generator))
    assert float(factor.min()) >= 0.0 and float(factor.max()) <= MAX_CORRECTION


def test_corrected_weights_sum_to_one():
    weights = torch.softmax(torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    total = corrected(weights, torch.tensor([[0.5, 2.0, 1.0], [1.0, 0.5, 3.0]])).sum(dim=1)
    assert torch.allclose(total, torch.ones(2, 4, 4))
    assert corrected(weights, None) is weights


def test_what_a_reference_did_not_see_is_taken_from_another():
    weights = torch.tensor([0.9, 0.1])[None, :, None, None]
    seen = torch.tensor([0.0, 1.0])[None, :, None, None]
    assert float(visible_weights(weights, seen)[0, 1]) > 0.98
    assert torch.allclose(visible_weights(weights, torch.zeros(1, 2, 1, 1)), weights, atol=1e-6)


def test_forbidden_references_get_no_weight():
    logits = geometric_logits(
        torch.ones(1, 2, 3, 3), torch.rand(1, 4, 2), torch.tensor([[True, False, True, True]])
    )
    weights = torch.softmax(logits, dim=1)[0]
    assert float(weights[1].abs().max()) == 0.0 and torch.allclose(weights.sum(0), torch.ones(3, 3))
