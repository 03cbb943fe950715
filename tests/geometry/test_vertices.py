"""Coefficients to vertices: zero gives the mean, each part does its own, wrong widths are refused."""

from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.vertices import (
    canonical_vertices,
    expression_vertices,
    posed_vertices,
    shape_vertices,
    template_vertices,
)
from personatalk_core.types import FaceGeometry


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture
def geometry(model) -> FaceGeometry:
    generator = torch.Generator().manual_seed(0)
    t = 4
    return FaceGeometry(
        torch.randn(model.identity_count, generator=generator),
        torch.randn(t, model.expression_count, generator=generator),
        torch.randn(t, 3, generator=generator) * 0.3,
        torch.rand(t, 2, generator=generator) * 200,
        torch.rand(t, generator=generator) * 50 + 50,
        torch.zeros(t, dtype=torch.uint8),
        torch.zeros(t, dtype=torch.int64),
        torch.arange(t),
        torch.arange(t) / 25,
        torch.full((t,), 0.04),
        (240, 320),
        model.sha256,
    )


def test_zero_coefficients_give_the_mean_face(model):
    zero = shape_vertices(torch.zeros(model.identity_count), torch.zeros(2, model.expression_count), model)
    assert torch.equal(zero, model.mean.expand(2, -1, -1))


def test_identity_for_all_equals_identity_for_each(model, geometry):
    each = geometry.identity.expand(geometry.frame_count, -1)
    torch.testing.assert_close(
        shape_vertices(each, geometry.expression, model), canonical_vertices(geometry, model)
    )


def test_parts_add_up(model, geometry):
    total = expression_vertices(geometry, model) + template_vertices(geometry, model) - model.mean
    torch.testing.assert_close(total, canonical_vertices(geometry, model), atol=1e-5, rtol=0)
    other = replace(geometry, identity=geometry.identity * 2)
    assert torch.equal(expression_vertices(geometry, model), expression_vertices(other, model))


def test_posed_vertices_without_pose_are_canonical_in_pixels(model, geometry):
    still = replace(
        geometry,
        rotation=geometry.rotation * 0,
        translation=geometry.translation * 0,
        scale=torch.ones_like(geometry.scale),
    )
    torch.testing.assert_close(
        posed_vertices(still, model) * torch.tensor([1.0, -1, 1]), canonical_vertices(geometry, model)
    )


def test_wrong_widths_are_refused(model):
    with pytest.raises(ShapeError, match="expression"):
        shape_vertices(None, torch.zeros(2, 3), model)
    with pytest.raises(ShapeError, match="identity"):
        shape_vertices(torch.zeros(3), torch.zeros(2, model.expression_count), model)
