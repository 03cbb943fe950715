"""Attention: fast and plain kernels agree, known answers hold."""

from __future__ import annotations

import torch

from personatalk_core.rendering.dual_attention import (
    JointKeyValues,
    JointQueries,
    ReferenceAttention,
    aligned_weights,
    aligned_weights_plain,
    augmented,
    blend,
    fuse,
    geometric_logits,
    seen_weights,
    squared_distance,
    token_attention,
    token_attention_plain,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_aligned_weights_equal_their_plain_twin():
    query, key, bias = random(2, 8, 3, 4), random(2, 5, 8, 3, 4, seed=1), random(2, 5, 3, 4, seed=2)
    assert torch.allclose(
        aligned_weights(query, key, bias), aligned_weights_plain(query, key, bias), atol=1e-6
    )


def test_token_attention_equals_its_plain_twin():
    query, key, value = random(20, 9), random(70, 9, seed=1), random(70, 6, seed=2)
    assert torch.allclose(
        token_attention(query, key, value), token_attention_plain(query, key, value), atol=1e-4
    )


def test_augmented_product_is_a_distance_up_to_a_constant_a_query():
    own, other, sharpness = random(4, 3), random(6, 3, seed=1), torch.tensor(3.0)
    product = augmented(own, sharpness, query=True) @ augmented(other, sharpness, query=False).T
    distance = -9.0 * torch.cdist(own, other).square()
    constant = product - distance
    assert torch.allclose(constant, constant[:, :1].expand_as(constant), atol=1e-4)


def test_one_repeated_reference_is_returned():
    values = random(2, 1, 3, 4, 4).expand(-1, 6, -1, -1, -1)
    weights = torch.softmax(random(2, 6, 4, 4, seed=3), dim=1)
    assert torch.allclose(blend([weights], values)[0], values[:, 0], atol=1e-6)


def test_a_shift_is_added_to_what_is_blended():
    weights, values, shift = (
        torch.softmax(random(2, 6, 4, 5), dim=1),
        random(2, 6, 3, 4, 5, seed=1),
        random(2, 6, 3, seed=2),
    )
    for one, other in zip(
        blend((weights, weights.flip(1)), values, shift), (weights, weights.flip(1)), strict=True
    ):
        assert torch.allclose(one, blend([other], values + shift[..., None, None])[0], atol=1e-6)


def test_what_a_reference_did_not_see_is_taken_from_another():
    weights = torch.tensor([0.9, 0.1])[None, :, None, None]
    seen = torch.tensor([0.0, 1.0])[None, :, None, None]
    assert float(seen_weights(weights, seen)[0, 1]) > 0.98
    assert torch.allclose(seen_weights(weights, torch.zeros(1, 2, 1, 1)), weights, atol=1e-6)


def test_forbidden_references_get_no_weight():
    logits = geometric_logits(
        torch.ones(1, 2, 3, 3), torch.rand(1, 4, 2), torch.tensor([[True, False, True, True]])
    )
    weights = torch.softmax(logits, dim=1)[0]
    assert float(weights[1].abs().max()) == 0.0 and torch.allclose(weights.sum(0), torch.ones(3, 3))


def test_the_likest_reference_wins_before_training():
    attention = ReferenceAttention(8, 4, 8000.0, 30.0).requires_grad_(False)
    shape, pose = random(1, 6)[0] * 0.02, random(1, 9)[0]
    shapes, poses = torch.stack([shape + 0.05, shape, shape - 0.03]), pose.expand(3, -1)
    logits = geometric_logits(
        attention.sharpness(random(1, 8, 5, 5)), squared_distance(shape[None], pose[None], shapes, poses)
    )
    assert bool((logits.argmax(dim=1) == 1).all())
    assert float(attention.query(random(1, 8, 5, 5)).abs().max()) == 0.0


def test_fuse_is_equation_four():
    lip, face, mask = random(3, 2, 2), random(3, 2, 2, seed=1), torch.tensor([[[0.0, 1.0], [0.5, 0.25]]])
    fused = fuse(lip, face, mask)
    assert torch.equal(fused[:, 0, 0], face[:, 0, 0]) and torch.equal(fused[:, 0, 1], lip[:, 0, 1])
    assert torch.allclose(fused[:, 1, 0], (lip + face)[:, 1, 0] / 2)


def test_joint_projections_equal_the_layers_own():
    layers = [ReferenceAttention(8, 4, 8000.0, 30.0).requires_grad_(False) for _ in range(2)]
    for k, layer in enumerate(layers):
        for j, parameter in enumerate(layer.parameters()):
            if parameter.ndim:
                parameter.copy_(random(*parameter.shape, seed=10 * k + j) * 0.3)
    geometry, texture = random(3, 8, 6, 6), random(3, 8, 6, 6, seed=1)
    for layer, (query, sharpness) in zip(layers, JointQueries(layers, 6)(geometry), strict=True):
        assert torch.allclose(query, layer.query(geometry), atol=1e-5)
        assert torch.allclose(sharpness, layer.sharpness(geometry), rtol=1e-5)
    for layer, key_value in zip(layers, JointKeyValues(layers, 6)(geometry, texture), strict=True):
        assert torch.allclose(key_value, layer.key_value(geometry, texture), atol=1e-5)
