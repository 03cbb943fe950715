"""What the bundled face model promises, and what the loader refuses."""

from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import ShapeError, WeightsError
from personatalk_core.geometry import topology
from personatalk_core.geometry.face_model import TENSORS, FaceModel, Region, load_face_model
from personatalk_core.weights.checkpoint import save_checkpoint


@pytest.fixture(scope="module")
def model() -> FaceModel:
    return load_face_model()


def test_the_mean_face_is_in_the_canonical_frame(model):
    right, left = model.mean[model.eye_corners]
    # the neutral mean; exactly 1 for the speaking mean it was aligned to
    assert float((left - right).norm()) == pytest.approx(1, abs=0.01)
    assert left[0] > 0 > right[0]
    torch.testing.assert_close(model.mean[:468].mean(0), torch.zeros(3), atol=0.02, rtol=0)
    assert model.mean[topology.NOSE_TIP, 2] == model.mean[:468, 2].max()
    assert model.mean[topology.CHIN, 1] < model.mean[13, 1] < model.mean[topology.NOSE_TIP, 1]


def test_mean_and_bases_are_symmetric(model):
    flip = torch.tensor([-1.0, 1, 1])
    assert torch.equal(model.mirror[model.mirror], torch.arange(model.vertex_count))
    torch.testing.assert_close(model.mean[model.mirror] * flip, model.mean, atol=1e-5, rtol=0)
    for basis in (model.identity_basis, model.expression_basis):
        mirrored = basis[:, model.mirror] * flip
        size = basis.flatten(1).norm(dim=1)
        cosine = (mirrored * basis).flatten(1).sum(1) / size**2
        assert float(cosine.abs().min()) > 0.9  # each component is symmetric or antisymmetric


def test_replacing_the_first_coefficients_replaces_exactly_the_lower_face(model):
    lower, upper = model.expression_basis[: model.lower_count], model.expression_basis[model.lower_count :]
    assert float(lower[:, model.lower_weight == 0].abs().max()) < 1e-4
    assert float(upper[:, model.lower_weight == 1].abs().max()) < 1e-4
    assert float(model.lower_weight[model.lips].min()) > 0.95
    assert float(model.lower_weight[[topology.NOSE_TIP, topology.NOSE_BASE]].max()) == 0


def test_the_mesh_is_closed_over_eyes_and_mouth_and_oriented(model):
    counts = torch.bincount(model.region.long(), minlength=4)
    assert counts.tolist() == [852, 28, 18, 144]
    a, b, c = model.mean[model.triangles].unbind(1)
    front = torch.linalg.cross(b - a, c - a)[:, 2]
    assert float((front > -1e-6).float().mean()) == 1
    inside = model.triangles[(model.region == Region.FACE) | (model.region == Region.EYE)]
    edges = torch.cat([inside[:, [0, 1]], inside[:, [1, 2]], inside[:, [2, 0]]]).sort(1).values
    unique, times = edges.unique(dim=0, return_counts=True)
    border = {frozenset(e) for e in unique[times == 1].tolist()}
    rings = [topology.FACE_OVAL, topology.INNER_LIPS]
    assert border == {frozenset((r[k - 1], r[k])) for r in rings for k in range(len(r))}  # no hole is left


def test_the_outermost_skirt_moves_with_the_head_only(model):
    outer = model.expression_basis[:, -len(topology.FACE_OVAL) :]
    assert float(outer.abs().max()) == 0
    assert float(model.expression_basis[:, topology.CHIN].abs().max()) > 0.01


def test_cavity_colours_are_unlike_any_skin_and_tell_where_in_the_mouth(model):
    weights = torch.rand(60, 3, generator=torch.Generator().manual_seed(0))
    weights /= weights.sum(1, keepdim=True)

    def colours(region):
        return torch.einsum(
            "nk,fkc->nfc", weights, model.pncc_colour[model.triangles[model.region == region]]
        ).reshape(-1, 3)

    assert float(torch.cdist(colours(Region.MOUTH_CAVITY), colours(Region.FACE)).min()) > 0.2
    cavity = model.pncc_colour[topology.CAVITY_START : topology.SKIRT_START]
    assert cavity[0, 0] < cavity[5, 0] < cavity[10, 0]  # right corner, middle, left corner
    assert cavity[5, 1] > cavity[15, 1]  # upper, lower
    assert float(model.pncc_colour.min()) >= 0 and float(model.pncc_colour.max()) <= 1


def test_named_directions_do_what_they_say(model):
    from personatalk_core.geometry.vertices import mouth_opening, mouth_width, shape_vertices

    def at(name):
        return shape_vertices(None, model.direction(name)[None], model)

    rest = shape_vertices(None, torch.zeros(1, model.expression_count), model)
    assert float(mouth_opening(at("jawOpen"), model)) > float(mouth_opening(rest, model)) + 0.1
    assert float(mouth_width(at("mouthPucker"), model)) < float(mouth_width(rest, model)) - 0.02
    upper, lower = topology.LEFT_EYE[4], topology.LEFT_EYE[12]

    def lids(shape):
        return float((shape[0, upper] - shape[0, lower]).norm())

    assert lids(at("eyeBlinkLeft")) < lids(rest) - 0.02
    with pytest.raises(ShapeError, match="jawOpen"):
        model.direction("jawWide")


def test_the_loader_refuses_what_is_not_a_face_model(model, tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load_face_model(tmp_path / "none.safetensors")
    save_checkpoint(tmp_path / "part.safetensors", {"mean": model.mean}, kind="face_model", config={})
    with pytest.raises(WeightsError, match="lacks"):
        load_face_model(tmp_path / "part.safetensors")
    save_checkpoint(tmp_path / "style.safetensors", {"mean": model.mean}, kind="style", config={})
    with pytest.raises(WeightsError, match="'style'"):
        load_face_model(tmp_path / "style.safetensors")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("lower_count", 999, "lower_count"),
        ("pncc_colour", torch.zeros(3, 3), "PNCC"),
        ("triangles", torch.full((1042, 3), 99999), "99999"),
    ],
)
def test_contradictory_models_are_refused_at_birth(model, field, value, words):
    with pytest.raises(ShapeError, match=words):
        replace(model, **{field: value})


def test_a_model_moves_between_devices_whole(model):
    moved = model.to("cpu")
    assert all(torch.equal(getattr(moved, name), getattr(model, name)) for name in TENSORS)
    assert moved.sha256 == model.sha256 and moved.direction_names == model.direction_names
