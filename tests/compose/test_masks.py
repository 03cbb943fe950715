from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.compose.masks import (
    border_vertices,
    draw_weights,
    lower_face_mask,
    passthrough_weight,
    turned_weight,
    vertex_weight,
)
from personatalk_core.errors import ShapeError
from personatalk_core.geometry.camera import rotation_matrix
from personatalk_core.geometry.face_model import Region, load_face_model
from personatalk_core.geometry.rasterizer import rasterize
from personatalk_core.types import FrameStatus

SIZE = 128
OK, NO_FACE = int(FrameStatus.OK), int(FrameStatus.NO_FACE)


def grid_model():
    """A 5 x 5 grid of vertices: two rows of upper face, two of lower face, and one of skirt, the
    outermost."""
    triangles, region = [], []
    for row in range(4):
        for column in range(4):
            a = row * 5 + column
            triangles += [[a, a + 5, a + 1], [a + 1, a + 5, a + 6]]
            region += [int(Region.SKIRT) if row == 3 else int(Region.FACE)] * 2
    weight = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0]).repeat_interleave(5)
    return SimpleNamespace(
        vertex_count=25,
        triangles=torch.tensor(triangles),
        region=torch.tensor(region, dtype=torch.uint8),
        lower_weight=weight,
    )


def grid_points(shift=0.0):
    y, x = torch.meshgrid(torch.linspace(20, 108, 5), torch.linspace(20, 108, 5), indexing="ij")
    points = torch.stack([x, y, torch.zeros_like(x)], -1).reshape(25, 3)
    points[10:20, 1] += shift
    return points


def test_the_border_of_a_mesh_is_found():
    expected = sorted({i for i in range(25) if i // 5 in (0, 4) or i % 5 in (0, 4)})
    assert border_vertices(grid_model().triangles).tolist() == expected


def test_the_skirts_outer_ring_may_not_change():
    weight = vertex_weight(grid_model())
    assert not weight[20:].any() and not weight[:10].any()
    assert (weight[10:20] == 1).all()


def test_the_inside_of_the_mouth_is_pasted_whole():
    model = load_face_model()
    cavity = model.triangles[model.region == int(Region.MOUTH_CAVITY)].unique()
    assert (vertex_weight(model)[cavity] == 1).all()


def test_the_mask_is_soft_and_stays_on_the_lower_face():
    mask = lower_face_mask(grid_points(), grid_points(2.0), grid_model(), SIZE)
    assert mask.shape == (SIZE, SIZE) and mask.dtype == torch.float32
    assert float(mask.min()) >= 0 and float(mask.max()) <= 1
    assert float(mask[66:86, 50:78].min()) > 0.9
    assert not mask[:36].any() and not mask[114:].any() and not mask[:, :14].any() and not mask[:, 114:].any()
    # no hard edge towards the upper face or below the chin
    assert float((mask[1:] - mask[:-1]).abs().max()) < 0.15


def test_the_mask_covers_both_where_the_chin_is_and_where_it_will_be():
    still, moved = grid_points(), grid_points(8.0)
    both = lower_face_mask(still, moved, grid_model(), SIZE)
    assert torch.equal(both, lower_face_mask(moved, still, grid_model(), SIZE))
    for one in (still, moved):
        assert bool((both >= lower_face_mask(one, one, grid_model(), SIZE) - 1e-3).all())


def test_a_face_over_the_edge_of_the_crop_fades_out_there():
    points = grid_points()
    points[:, 0] += 60
    mask = lower_face_mask(points, points, grid_model(), SIZE)
    assert mask.any() and not mask[:, -1].any()


def test_a_face_outside_the_crop_changes_nothing():
    assert not lower_face_mask(grid_points() + 500, grid_points() + 500, grid_model(), SIZE).any()


def test_the_bundled_face_changes_below_the_eyes_only():
    model = load_face_model()
    points = model.mean * torch.tensor([90.0, -90.0, 90.0]) + torch.tensor([128.0, 128.0, 0.0])
    mask = lower_face_mask(points, points, model, 256)
    lips = points[model.lips, :2].long()
    assert float(mask[lips[:, 1], lips[:, 0]].min()) > 0.95
    eyes = points[model.eye_corners, :2].long()
    assert not mask[: int(eyes[:, 1].max()) + 4].any()


def test_wrong_points_are_refused():
    with pytest.raises(ShapeError, match="target points"):
        lower_face_mask(grid_points(), grid_points()[:-1], grid_model(), SIZE)


def test_the_dub_fades_in_and_out_around_frames_that_pass_through():
    status = np.full(50, OK)
    status[20:23] = NO_FACE
    weight = passthrough_weight(status, np.arange(50) / 25)
    assert not weight[20:23].any()
    assert (np.diff(weight[:20]) <= 0).all() and (np.diff(weight[23:]) >= 0).all()
    assert 0 < weight[23] < 0.3 and weight[28:].min() == 1 and weight[:15].min() == 1
    assert np.abs(np.diff(weight)).max() < 0.35


def test_nothing_fades_where_every_frame_is_usable_or_none():
    times = np.arange(10) / 25
    assert passthrough_weight(np.full(10, OK), times).tolist() == [1.0] * 10
    assert passthrough_weight(np.full(10, NO_FACE), times).tolist() == [0.0] * 10


def test_nothing_fades_across_a_hard_cut():
    status = np.array([OK] * 10 + [NO_FACE] * 10)
    weight = passthrough_weight(status, np.arange(20) / 25, shot=np.array([0] * 10 + [1] * 10))
    assert weight.tolist() == [1.0] * 10 + [0.0] * 10


def test_an_outline_that_stays_is_changed_less_than_one_that_moves():
    moved = torch.zeros(25)
    moved[15:17] = moved[20:22] = 0.05  # the left part of the jaw drops
    weight = vertex_weight(grid_model(), moved)
    assert weight[15] == weight[16] == 1
    assert 0 < weight[19] < 0.6
    assert (weight[10:15] == 1).all()  # inside the face all is pasted


def test_painted_weights_agree_with_the_rasterised_ones():
    """The slow twin: barycentric interpolation pixel by pixel, with a z-buffer, on a face turned a little."""
    model, size = load_face_model(), 256
    turn = rotation_matrix(torch.tensor([[0.1, 0.25, 0.05]]))[0]
    points = (model.mean @ turn.T) * torch.tensor([90.0, -90.0, 90.0]) + torch.tensor([128.0, 118.0, 0.0])
    weight = vertex_weight(model)
    triangle, barycentric, _ = rasterize(points[None], model.triangles, (size, size))
    slow = torch.einsum("khw,hwk->hw", barycentric[0], weight[model.triangles[triangle[0].clamp_min(0)]]) * (
        triangle[0] >= 0
    )
    part = (weight[model.triangles] > 0).any(dim=1)
    fast = draw_weights(points[None, :, :2][:, model.triangles[part]], weight[model.triangles[part]], size)
    difference = np.abs(fast - slow.numpy())
    assert difference.mean() < 0.01
    soft = np.abs(cv2.GaussianBlur(fast, (0, 0), 3) - cv2.GaussianBlur(slow.numpy(), (0, 0), 3))
    assert soft.max() < 0.15


def test_turned_heads_fade_to_the_source():
    angle = torch.deg2rad(torch.tensor([0.0, 44.0, 50.0, 56.0, -50.0]))
    weight = turned_weight(torch.stack([torch.zeros(5), angle, torch.zeros(5)], dim=1))
    assert weight[:2].tolist() == [1.0, 1.0] and weight[3] == 0.0
    assert weight[2] == pytest.approx(0.5, abs=1e-3) and weight[4] == pytest.approx(0.5, abs=1e-3)
    rolled = turned_weight(torch.tensor([[0.0, 0.0, 1.2]]))
    assert rolled[0] == 1.0  # leaning to the side hides nothing
