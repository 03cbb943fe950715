"""PNCC maps: vertex colours at vertices, the cavity's own, no skirt unless asked, background exactly zero."""

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.geometry.camera import project
from personatalk_core.geometry.face_model import Region, load_face_model
from personatalk_core.geometry.pncc import draw_pncc, interpolate


@pytest.fixture(scope="module")
def model():
    return load_face_model()


def place(shape, scale=100.0, turn=(0.0, 0.0, 0.0)):
    return project(shape[None], torch.tensor([turn]), torch.tensor([[128.0, 128.0]]), torch.tensor([scale]))


def test_a_vertex_has_its_own_colour(model):
    points = place(model.mean)
    nose = points[0, 4, :2]
    # put the nose tip on a pixel centre
    points = points + torch.cat([(nose.floor() + 0.5 - nose), torch.zeros(1)])
    pncc = draw_pncc(points, model, (256, 256))
    column, row = points[0, 4, :2].long().tolist()
    torch.testing.assert_close(pncc.map[0, :, row, column], model.pncc_colour[4], atol=0.01, rtol=0)


def test_colours_of_the_map_are_normalised_canonical_coordinates(model):
    pncc = draw_pncc(place(model.mean), model, (256, 256))
    skin = (pncc.triangle[0] >= 0) & (model.region.long()[pncc.triangle[0].clamp_min(0)] == Region.FACE)
    rows, columns = skin.nonzero(as_tuple=True)
    low, high = model.mean[:468].amin(0), model.mean[:468].amax(0)
    x = 0.1 + 0.9 * ((columns + 0.5 - 128) / 100 - low[0]) / (high - low)[0]
    y = 0.1 + 0.9 * (-(rows + 0.5 - 128) / 100 - low[1]) / (high - low)[1]
    torch.testing.assert_close(pncc.map[0, 0, rows, columns], x, atol=2e-3, rtol=0)
    torch.testing.assert_close(pncc.map[0, 1, rows, columns], y, atol=2e-3, rtol=0)


def test_background_is_zero_and_depth_says_so(model):
    pncc = draw_pncc(place(model.mean, 60), model, (256, 256))
    outside = pncc.triangle[0] < 0
    assert outside.any() and not outside.all()
    assert float(pncc.map[0][:, outside].abs().max()) == 0
    assert bool(torch.isinf(pncc.depth[0][outside]).all()) and bool(
        torch.isfinite(pncc.depth[0][~outside]).all()
    )
    assert float(pncc.map[0][:, ~outside].amax(0).min()) > 0


@pytest.mark.parametrize(
    ("turn", "holes"),
    [((0.0, 0.0, 0.0), 0), ((0.25, 0.2, 0.0), 0), ((-0.25, -0.3, 0.2), 0), ((0.0, 0.6, 0.0), 20)],
)
def test_an_open_mouth_shows_the_cavity_without_holes(model, turn, holes):
    shape = model.mean + torch.einsum("e,evc->vc", model.direction("jawOpen") * 0.8, model.expression_basis)
    pncc = draw_pncc(place(shape, turn=turn), model, (256, 256))
    region = torch.where(pncc.triangle[0] >= 0, model.region.long()[pncc.triangle[0].clamp_min(0)], -1)
    assert int((region == Region.MOUTH_CAVITY).sum()) > 40
    around = torch.nn.functional.avg_pool2d((region >= 0).float()[None, None], 5, 1, 2)[0, 0]
    # a thin line may open behind the far lip of a turned head
    assert int(((region < 0) & (around > 0.7)).sum()) <= holes


def test_a_closed_mouth_hides_the_cavity(model):
    shape = model.mean.clone()
    ring = model.inner_lips
    half = len(ring) // 2
    upper, lower = ring[1:half], ring.flip(0)[: half - 1]
    shape[upper] = shape[lower] = (shape[upper] + shape[lower]) / 2
    cavity = slice(468, 488)
    from personatalk_core.geometry import topology

    full = torch.from_numpy(
        topology.extended(shape[:468].numpy(), follows=False) + topology.constant_offsets()
    )
    shape[cavity] = full[cavity]
    pncc = draw_pncc(place(shape), model, (256, 256))
    assert (
        int(
            (model.region.long()[pncc.triangle.clamp_min(0)][pncc.triangle >= 0] == Region.MOUTH_CAVITY).sum()
        )
        <= 6
    )


def test_the_skirt_is_drawn_only_when_asked(model):
    points = place(model.mean, 70)
    without = draw_pncc(points, model, (256, 256)).triangle
    whole = draw_pncc(points, model, (256, 256), tuple(Region)).triangle
    assert not (model.region[without[without >= 0]] == Region.SKIRT).any()
    assert (model.region[whole[whole >= 0]] == Region.SKIRT).any()
    assert torch.equal(whole[without >= 0], without[without >= 0])


def test_carrying_constant_values_gives_the_constant(model):
    pncc = draw_pncc(place(model.mean).expand(2, -1, -1), model, (64, 64))
    values = torch.tensor([[1.0], [2.0]])[:, None].expand(2, model.vertex_count, 1)
    carried = interpolate(values, model.triangles, pncc.triangle, pncc.barycentric)
    covered = pncc.triangle >= 0
    torch.testing.assert_close(carried[0, 0][covered[0]], torch.ones(int(covered[0].sum())))
    torch.testing.assert_close(carried[1, 0][covered[1]], torch.full((int(covered[1].sum()),), 2.0))


def test_wrong_vertex_count_is_refused(model):
    with pytest.raises(ShapeError, match="points"):
        draw_pncc(torch.zeros(1, 5, 3), model, (8, 8))
