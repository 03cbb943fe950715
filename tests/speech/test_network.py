"""The network of section 3.1: its parts, and that the file is a page to read next to the paper."""

from __future__ import annotations

import ast
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from personatalk_core.speech import network as network_module
from personatalk_core.speech.network import LipSyncNetwork

PURE = {"torch", "einops", "calibration", "local_attention"}


@pytest.fixture
def inputs(networks):
    """Audio features (2, 20, D), styles (2, D) and templates (2, L, 3)."""
    config = networks.lip_sync.config
    generator = torch.Generator().manual_seed(2)
    shapes = (2, 20, config.width), (2, config.width), (2, config.vertices, 3)
    return [torch.randn(shape, generator=generator) * 0.1 for shape in shapes]


def test_the_file_is_one_page_of_plain_tensors():
    path = Path(network_module.__file__)
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    imported = [node for node in ast.walk(ast.parse(text)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = {(getattr(node, "module", None) or node.names[0].name).split(".")[0] for node in imported}
    assert names - set(sys.stdlib_module_names) - {"__future__"} == PURE


def test_the_figure_written_out(networks, inputs):
    network, (audio, style, template) = networks.lip_sync, inputs
    with torch.no_grad():
        value = network.template(network.style.encode_vertices(template))[:, None]
        x = network.stylized_audio(audio, style)
        keys = torch.randn(2, 1, x.shape[-1])  # whatever the only key is, all attention goes to it
        x = x + torch.nn.functional.scaled_dot_product_attention(x, keys, value)
        for layer in network.layers:
            x = layer(x)
        x = network.norm(x) * (1 + network.amplitude(style)[:, None])
        expected = network.vertex_decoder(x) + network.rest(style)[:, None]
        assert torch.allclose(network(audio, style, template), expected, atol=1e-5)


def test_stylized_audio_is_equation_3_within_its_reach(networks, inputs):
    part, (audio, style, _) = networks.lip_sync.stylized_audio, inputs
    attention = part.attention
    attention.heads, attention.rotated, attention.reach = 1, 0, None  # all frames, one head, no positions
    with torch.no_grad():
        query = part.style_in(style)[:, None].expand_as(audio)
        q, k, v = (
            attention.q_proj(query),
            *(f(part.norm(audio)) for f in (attention.k_proj, attention.v_proj)),
        )
        heard = torch.softmax(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5, dim=-1) @ v
        expected = audio + query + attention.o_proj(heard)
        assert torch.allclose(part(audio, style), expected, atol=1e-5)


@pytest.mark.parametrize("changed", [0, 1, 2], ids=["audio", "style", "template"])
def test_every_input_of_the_figure_matters(networks, inputs, changed):
    with torch.no_grad():
        before = networks.lip_sync(*inputs)
        inputs[changed] = inputs[changed] + 0.5 * torch.randn_like(inputs[changed])
        assert not torch.allclose(networks.lip_sync(*inputs), before, atol=1e-3)


def test_frames_beyond_the_margin_do_not_reach_a_frame(networks, inputs):
    network, (audio, style, template) = networks.lip_sync, inputs
    margin = network.config.margin
    other = audio.clone()
    other[:, margin + 1 :] = torch.randn_like(other[:, margin + 1 :])
    with torch.no_grad():
        change = (network(other, style, template) - network(audio, style, template)).abs().amax(2)  # (2, 20)
    assert float(change[:, 0].max()) < 1e-6
    assert float(change[:, 1].max()) > 1e-5


def test_basis_is_the_face_models(networks, face_model):
    coefficients = torch.randn(3, face_model.lower_count)
    expected = torch.einsum(
        "te,elc->tlc",
        coefficients,
        face_model.expression_basis[: face_model.lower_count, face_model.lower_vertices],
    )
    assert torch.allclose(networks.lip_sync.offsets(coefficients), expected, atol=1e-6)


def test_vertex_encoder_starts_as_the_inverse_of_the_basis(networks, face_model):
    coefficients = torch.randn(5, face_model.lower_count)
    encoded = networks.lip_sync.style.encode_vertices(networks.lip_sync.offsets(coefficients))
    assert torch.allclose(encoded[:, : face_model.lower_count], coefficients, atol=1e-2)


def test_style_does_not_depend_on_the_order_of_frames(networks):
    frames = torch.randn(1, 40, networks.lip_sync.config.expression)
    style = networks.lip_sync.style
    assert torch.allclose(
        style(networks.lip_sync.offsets(frames)),
        style(networks.lip_sync.offsets(frames[:, torch.randperm(40)])),
        atol=1e-4,
    )


def test_weighted_frames_equal_frames_left_out(networks):
    frames = torch.randn(1, 40, networks.lip_sync.config.expression)
    weight = torch.zeros(1, 40)
    weight[:, :25] = 1
    style, offsets = networks.lip_sync.style, networks.lip_sync.offsets(frames)
    assert torch.allclose(style(offsets, weight), style(offsets[:, :25]), atol=1e-4)


def test_networks_without_reference_speech_are_not_calibrated(networks):
    assert networks.lip_sync.calibration is None
    config = replace(networks.lip_sync.config, reference=2, reference_frames=30)
    assert LipSyncNetwork(config).calibration.speech.shape == (2, 30, config.width)
