"""Parts taken away from the renderer: each row of Table 4 differs in what it says, and both variants run
behind one interface."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.evaluation.benchmark.renderer_ablations import (
    FACE_ATTENTION_ONLY,
    GLOBAL_ATTENTION,
    LIP_ATTENTION_ONLY,
    WITHOUT_GEOMETRIC_START,
    ablated,
)
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.rendering.renderer import (
    RendererConfig,
    Targets,
    build_renderer,
    encode_references,
    render,
)
from personatalk_core.rendering.similarity import spread_evenly

SMALL = RendererConfig(width=8, attention_width=4, decoder_width=8)


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


@pytest.fixture(scope="module")
def scene(face_model):
    """A small renderer, two targets and four references with mouths of different shape."""
    generator = torch.Generator().manual_seed(0)
    expression = torch.zeros(6, face_model.expression_count)
    expression[:, 0] = torch.linspace(-1.5, 1.5, 6)
    vertices = face_model.mean + torch.einsum("te,evk->tvk", expression, face_model.expression_basis)
    points = vertices * torch.tensor([85.0, -85.0, 85.0]) + torch.tensor([128.0, 128.0, 0.0])
    renderer = build_renderer(SMALL)
    crops = torch.rand(4, 3, 256, 256, generator=generator)
    return (
        renderer,
        points[:2],
        expression[:2],
        encode_references(renderer, crops, points[2:], expression[2:], face_model),
    )


def rendered(scene, changes, face_model, **changed):
    renderer, points, expression, references = scene
    network = renderer if changes is None else ablated(renderer, **changes)
    with torch.inference_mode():
        lip = replace(references, **changed)
        return render(network, Targets(points, expression), lip, references, face_model).rgb


def test_both_variants_run_behind_one_interface_with_the_same_weights(scene, face_model):
    aligned, paper = rendered(scene, None, face_model), rendered(scene, GLOBAL_ATTENTION, face_model)
    assert aligned.shape == paper.shape == (2, 3, 256, 256) and not torch.equal(aligned, paper)
    assert ablated(scene[0], **GLOBAL_ATTENTION).state_dict().keys() == scene[0].state_dict().keys()


def test_without_its_geometric_start_attention_knows_neither_shape_nor_pose(scene, face_model):
    references = scene[3]
    turned = {"shape": references.shape.flip(0), "pose": references.pose.flip(0)}
    assert not torch.equal(rendered(scene, None, face_model), rendered(scene, None, face_model, **turned))
    assert torch.equal(
        rendered(scene, WITHOUT_GEOMETRIC_START, face_model),
        rendered(scene, WITHOUT_GEOMETRIC_START, face_model, **turned),
    )


def test_a_single_attention_layer_draws_the_mouth_from_its_network_references(scene, face_model):
    black = {"pixels": torch.zeros_like(scene[3].pixels)}
    face_only, lip_only = (
        rendered(scene, changes, face_model) for changes in (FACE_ATTENTION_ONLY, LIP_ATTENTION_ONLY)
    )
    assert torch.equal(face_only, rendered(scene, FACE_ATTENTION_ONLY, face_model, **black))
    assert not torch.equal(lip_only, rendered(scene, LIP_ATTENTION_ONLY, face_model, **black))
    assert not torch.equal(face_only, lip_only)


def test_entries_are_kept_evenly():
    allowed = torch.ones(2, 10, dtype=torch.bool)
    allowed[1, 2:] = False
    assert spread_evenly(allowed, 4).nonzero().tolist() == [[0, 0], [0, 3], [0, 6], [0, 9], [1, 0], [1, 1]]
