"""Crops: exact where an answer is known, and standing still while the mouth moves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.compose.crop import (
    LANCZOS,
    TRIANGLE,
    crop_boxes,
    crop_image,
    crop_points,
    resample,
    uncrop_image,
    uncrop_points,
)
from personatalk_core.compose.paste_back import frame_area
from personatalk_core.errors import ShapeError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.types import CropBoxes, FaceGeometry


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


def geometry_of(fm, frames=50, **changes) -> FaceGeometry:
    values = {
        "identity": torch.zeros(fm.identity_basis.shape[0]),
        "expression": torch.zeros(frames, fm.expression_basis.shape[0]),
        "rotation": torch.zeros(frames, 3),
        "translation": torch.tensor([320.0, 240.0]).repeat(frames, 1),
        "scale": torch.full((frames,), 90.0),
        "status": torch.zeros(frames, dtype=torch.uint8),
        "shot": torch.zeros(frames, dtype=torch.int64),
        "source_frame": torch.arange(frames),
        "times": torch.arange(frames) / 25,
        "durations": torch.full((frames,), 0.04),
        "frame_size": (480, 640),
        "face_model": "",
    }
    return FaceGeometry(**{**values, **changes})


def test_native_scale_returns_the_pixels():
    frame = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert (crop_image(frame, torch.tensor([20.0, 15.0, 16.0]), 16) == frame[7:23, 12:28]).all()
    as_float = frame.astype(np.float32) / 255
    assert (crop_image(as_float, torch.tensor([20.0, 15.0, 16.0]), 16) == as_float[7:23, 12:28]).all()


def test_the_border_repeats_outside_the_frame():
    frame = np.random.default_rng(0).integers(0, 256, (10, 10, 3), np.uint8)
    crop = crop_image(frame, torch.tensor([0.0, 0.0, 8.0]), 8)
    assert (crop[4:, 4:] == frame[:4, :4]).all() and (crop[:4, :4] == frame[0, 0]).all()
    assert (crop_image(frame, torch.tensor([500.0, 500.0, 8.0]), 8) == frame[-1, -1]).all()


def test_coordinates_of_pixels_and_points_agree():
    """A ramp's value at a continuous position is that position: crops must read it where crop_points says, at
    any scale."""
    x, y = np.meshgrid(np.arange(200) + 0.5, np.arange(150) + 0.5)
    frame = np.stack([x, y, x], -1).astype(np.float32)
    for box in ((80.3, 70.8, 31.7), (90.1, 75.2, 97.0)):
        crop = crop_image(frame, torch.tensor(box), 48)
        points = torch.tensor([[[float(crop[20, 30, 0]), float(crop[20, 30, 1]), 3.0]]])
        inside = crop_points(points, CropBoxes(torch.tensor([box])), 48)
        assert inside[0, 0, :2].tolist() == pytest.approx([30.5, 20.5], abs=5e-3)


def test_shrinking_averages_instead_of_skipping():
    frame = np.zeros((128, 128, 3), np.float32)
    frame[::2] = 1.0  # one-pixel stripes
    assert np.ptp(crop_image(frame, torch.tensor([64.0, 64.0, 96.0]), 24)) < 0.05


def test_points_there_and_back():
    torch.manual_seed(0)
    boxes = CropBoxes(torch.tensor([[100.0, 90.0, 64.0], [33.3, 55.5, 300.1]]))
    points = torch.randn(2, 7, 3) * 100
    assert torch.allclose(uncrop_points(crop_points(points, boxes, 256), boxes, 256), points, atol=1e-3)


def test_pixels_there_and_back():
    import cv2

    frame = cv2.GaussianBlur(np.random.default_rng(1).random((120, 160, 3)).astype(np.float32), (0, 0), 4)
    box = torch.tensor([70.4, 61.2, 60.3])
    part, rows, columns = uncrop_image(crop_image(frame, box, 121), box, frame.shape[:2])
    assert part.shape[:2] == (rows.stop - rows.start, columns.stop - columns.start) and part.shape[0] in (
        60,
        61,
    )
    assert np.abs(part - frame[rows, columns])[2:-2, 2:-2].max() < 0.002


def test_a_box_over_the_edge_covers_only_the_frame():
    frame = np.random.default_rng(1).random((60, 60, 3)).astype(np.float32)
    box = torch.tensor([4.0, 56.0, 24.0])
    part, rows, columns = uncrop_image(crop_image(frame, box, 24), box, (60, 60))
    assert (rows, columns) == (slice(44, 60), slice(0, 16)) and np.abs(part - frame[44:, :16]).max() < 1e-6
    assert uncrop_image(crop_image(frame, box, 24), torch.tensor([500.0, 0.0, 24.0]), (60, 60))[0].size == 0


def test_boxes_hold_still_while_the_mouth_moves(face_model):
    quiet = geometry_of(face_model)
    talking = geometry_of(face_model, expression=torch.randn(50, face_model.expression_basis.shape[0]))
    assert torch.equal(crop_boxes(quiet, face_model).box, crop_boxes(talking, face_model).box)
    assert crop_boxes(quiet, face_model).box.std(0).max() < 1e-3


def test_the_open_mouth_and_the_turned_head_stay_inside(face_model):
    from personatalk_core.geometry.vertices import posed_vertices

    t = torch.linspace(0, 6.28, 50)
    expression = torch.zeros(50, face_model.expression_basis.shape[0])
    jaw = face_model.direction("jawOpen")
    expression += torch.sin(t).clamp(0)[:, None] * jaw
    rotation = torch.stack([0.2 * torch.sin(t), 1.0 * torch.cos(t), 0.3 * torch.sin(2 * t)], 1)
    translation = torch.stack([320 + 60 * torch.sin(t), 240 + 30 * torch.cos(2 * t)], 1)
    geometry = geometry_of(face_model, expression=expression, rotation=rotation, translation=translation)
    boxes = crop_boxes(geometry, face_model)
    drawn = face_model.triangles[face_model.region == 0].unique()
    points = crop_points(posed_vertices(geometry, face_model), boxes, 256)[:, drawn, :2]
    assert points.min() > 2 and points.max() < 254
    still = crop_points(
        posed_vertices(geometry_of(face_model), face_model),
        crop_boxes(geometry_of(face_model), face_model),
        256,
    )
    share = float(np.ptp(still[0, drawn, 1].numpy())) / 256
    assert 0.58 < share < 0.67


def test_boxes_are_smooth_within_a_shot_and_jump_at_a_cut(face_model):
    torch.manual_seed(0)
    shot = torch.repeat_interleave(torch.tensor([0, 1]), 25)
    translation = torch.tensor([[200.0, 200.0]]).repeat(50, 1) + torch.randn(50, 2)
    translation[25:] += 150
    box = crop_boxes(geometry_of(face_model, shot=shot, translation=translation), face_model).box
    alone = crop_boxes(geometry_of(face_model, 25, translation=translation[:25]), face_model).box
    assert torch.allclose(box[:25], alone), "the next shot must not leak into this one"
    second = lambda x: x.diff(n=2, dim=0).abs().mean()  # noqa: E731
    assert second(box[:25, :2]) < 0.2 * second(translation[:25])
    assert (box[25, :2] - box[24, :2]).min() > 140


def test_one_frame_has_a_box(face_model):
    assert crop_boxes(geometry_of(face_model, 1), face_model).box.shape == (1, 3)


def test_bad_boxes_are_refused():
    frame = np.zeros((10, 10, 3), np.uint8)
    with pytest.raises(ShapeError, match="positive side"):
        crop_image(frame, torch.tensor([5.0, 5.0, 0.0]), 8)
    with pytest.raises(ShapeError, match="points has shape"):
        crop_points(torch.zeros(2, 5, 3), CropBoxes(torch.ones(3, 3)), 256)


def test_pixels_that_are_shown_come_back_sharp():
    """Cut out at about the same scale and laid back: Lanczos' kernel keeps the finest detail, a triangle a
    good half of it."""
    noise = np.random.default_rng(0).normal(128, 20, (120, 160, 3))
    frame = cv2.GaussianBlur(noise, (0, 0), 0.7).clip(0, 255).astype(np.uint8)
    box, inner = np.array([80.3, 60.6, 101.7]), (slice(30, 90), slice(50, 110))
    kept, error = {}, {}
    for lobes in (TRIANGLE, LANCZOS):
        crop = crop_image(frame, box, 112, lobes).astype(np.float32)
        rows, columns = frame_area(box, frame.shape[:2])
        back = resample(
            crop,
            (
                (columns.start - box[0] + box[2] / 2) * 112 / box[2],
                (rows.start - box[1] + box[2] / 2) * 112 / box[2],
            ),
            112 / box[2],
            (rows.stop - rows.start, columns.stop - columns.start),
            lobes,
        )
        there = frame[rows, columns].astype(np.float32)
        kept[lobes] = (
            cv2.Laplacian(back, cv2.CV_32F)[inner].std() / cv2.Laplacian(there, cv2.CV_32F)[inner].std()
        )
        error[lobes] = np.abs(back - there)[inner].mean()
    assert kept[TRIANGLE] < 0.7 and 0.85 < kept[LANCZOS] < 1.05 and error[LANCZOS] < 0.5 * error[TRIANGLE]


def test_lanczos_keeps_flat_pictures_and_whole_pixels():
    flat = np.full((40, 50, 3), 77, np.uint8)
    assert np.array_equal(
        crop_image(flat, np.array([20.3, 18.9, 23.4]), 31, LANCZOS), np.full((31, 31, 3), 77, np.uint8)
    )
    frame = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    assert np.array_equal(crop_image(frame, np.array([24.0, 20.0, 16.0]), 16, LANCZOS), frame[12:28, 16:32])
