"""The paper's attention to the letter: fast and plain kernels agree, logits are distances."""

from __future__ import annotations

import torch

from personatalk_core.rendering.global_attention import augmented, token_attention, token_attention_plain


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


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
