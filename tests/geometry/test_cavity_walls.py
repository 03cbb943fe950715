"""No gap behind the far lip of a turned, open mouth; nothing changes where there was none."""

import pytest
import torch
from torch.nn import functional

from personatalk_core.geometry.camera import project
from personatalk_core.geometry.face_model import Region, load_face_model
from personatalk_core.geometry.pncc import draw_pncc, rasterize_face
from personatalk_core.geometry.rasterizer import rasterize
from personatalk_core.geometry.topology import cavity_walls

SIZE = (256, 256)


@pytest.fixture(scope="module")
def model():
    return load_face_model()


def turned(model, yaw: float, pitch: float = 0.0, opening: float = 0.8):
    shape = model.mean + torch.einsum(
        "e,evc->vc", opening * model.direction("jawOpen"), model.expression_basis
    )
    return project(
        shape[None], torch.tensor([[pitch, yaw, 0.0]]), torch.tensor([[128.0, 128.0]]), torch.tensor([100.0])
    )


def holes(drawn: torch.Tensor) -> int:
    """Empty pixels most of whose neighbours are drawn; drawn (H, W) bool."""
    around = functional.avg_pool2d(drawn.float()[None, None], 5, 1, 2)[0, 0]
    return int((~drawn & (around > 0.7)).sum())


@pytest.mark.parametrize(("yaw", "pitch"), [(0.6, 0.25), (-0.6, 0.25), (0.6, 0.0), (0.4, -0.3)])
def test_a_turned_open_mouth_has_no_gap(model, yaw, pitch):
    points = turned(model, yaw, pitch)
    pncc = draw_pncc(points, model, SIZE)
    assert holes(pncc.triangle[0] >= 0) == 0
    inside = rasterize(points, model.triangles[model.region != int(Region.SKIRT)], SIZE)[0]
    if abs(yaw) == 0.6 and pitch:
        assert holes(inside[0] >= 0) > 5  # there was one


def test_walls_have_the_colours_of_the_cavitys_edge(model):
    points = turned(model, 0.6, 0.25)
    pncc = draw_pncc(points, model, SIZE)
    without = rasterize(points, model.triangles[model.region != int(Region.SKIRT)], SIZE)[0]
    new = (pncc.triangle >= 0) & (without < 0)
    assert (model.region[pncc.triangle[new]] == int(Region.MOUTH_CAVITY)).all()
    weights = pncc.barycentric.permute(0, 2, 3, 1)[new]
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights)))
    assert float(weights.min(1).values.abs().max()) < 1e-5  # on an edge: one corner has no weight
    colours = pncc.map.permute(0, 2, 3, 1)[new]
    cavity = model.pncc_colour[model.triangles[model.region == int(Region.MOUTH_CAVITY)].unique()]
    assert (colours >= cavity.amin(0) - 1e-5).all() and (colours <= cavity.amax(0) + 1e-5).all()


@pytest.mark.parametrize("opening", [0.0, 0.8])
def test_a_frontal_face_is_drawn_as_without_walls(model, opening):
    points = turned(model, 0.0, opening=opening)
    for ours, plain in zip(
        rasterize_face(points, model, SIZE), rasterize(points, model.triangles, SIZE), strict=True
    ):
        torch.testing.assert_close(ours, plain, atol=0, rtol=0)


def test_a_model_without_a_ring_of_its_own_has_no_walls(model):
    from dataclasses import replace

    assert len(cavity_walls(model).triangles) == 2 * len(model.inner_lips)
    assert len(cavity_walls(replace(model, inner_lips=model.inner_lips[:8])).triangles) == 0
    assert len(cavity_walls(replace(model, region=torch.zeros_like(model.region))).triangles) == 0
