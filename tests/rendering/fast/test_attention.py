"""The fast attention layer: joint projections and windows give what the network's own layers give."""

from __future__ import annotations

import torch

from personatalk_core.rendering.fast.attention import JointKeyValues, JointQueries, projections
from personatalk_core.rendering.network import DualAttentionRenderer, ReferenceAttention, RendererConfig


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_joint_projections_equal_the_layers_own():
    layers = [
        ReferenceAttention(RendererConfig(width=8, attention_width=4), (8000.0, 30.0)).requires_grad_(False)
        for _ in range(2)
    ]
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


def test_prepared_projections_follow_the_parameters():
    network = DualAttentionRenderer(RendererConfig(width=8, attention_width=4, decoder_width=8))
    with torch.no_grad():
        first = projections(network)
        assert projections(network) is first
        network.lip_attention.to_key.bias.add_(1.0)
        second = projections(network)
        assert second is not first and not torch.equal(second[1].placed, first[1].placed)
        network.load_state_dict(DualAttentionRenderer(network.config).state_dict())
        assert projections(network) is not second
    assert projections(network)[0].weight.requires_grad  # training prepares them anew


def test_parameters_made_in_inference_mode_are_known_by_where_they_lie():
    """A host may load and run networks in inference mode, where tensors count no changes."""
    with torch.inference_mode():
        network = DualAttentionRenderer(RendererConfig(width=8, attention_width=4, decoder_width=8))
        first = projections(network)
        assert projections(network) is first
        network.lip_attention.to_key.bias = torch.nn.Parameter(
            network.lip_attention.to_key.bias + 1.0, requires_grad=False
        )
        assert not torch.equal(projections(network)[1].placed, first[1].placed)
