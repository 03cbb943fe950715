"""What is wrong, what was expected, what to do: landmarks and coefficients that cannot be, and odd ones that
can."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.compose.crop import crop_boxes
from personatalk_core.errors import FaceError, OptionsError, PersonaTalkError, ShapeError
from personatalk_core.geometry.editing import GeometryEdit, edit_geometry, geometry_at_speed, retime_geometry
from personatalk_core.geometry.export import blendshape_scores, write_glb
from personatalk_core.geometry.fitting import estimate_geometry
from personatalk_core.geometry.initialisation import initial_coefficients
from personatalk_core.geometry.pncc import draw_pncc
from personatalk_core.geometry.vertices import canonical_vertices, posed_vertices, shape_vertices
from personatalk_core.types import FaceTrack, FrameStatus


def track_of(face_model, centres, status=None) -> FaceTrack:
    """The mean face, 90 px between the eye corners, at (x, y) centres (T, 2) of a 300 x 200 frame."""
    centres = np.asarray(centres, np.float32)
    marks = np.zeros((len(centres), 478, 3), np.float32)
    marks[:, :468] = (face_model.mean[:468] * torch.tensor([90.0, -90, 90])).numpy()
    marks[..., :2] += centres[:, None]
    status = np.zeros(len(centres), np.uint8) if status is None else np.asarray(status, np.uint8)
    frames = len(centres)
    return FaceTrack(
        marks,
        np.zeros((frames, 52), np.float32),
        status,
        np.zeros(frames, np.int64),
        np.arange(frames) / 25,
        (200, 300),
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_landmarks_that_are_not_finite(face_model, value):
    track = track_of(face_model, [(150, 100)] * 3)
    marks = track.landmarks.copy()
    marks[1, 7, 0] = value
    with pytest.raises(ShapeError, match="landmarks .*finite"):
        replace(track, landmarks=marks)


def test_a_track_whose_parts_differ_in_length(face_model):
    track = track_of(face_model, [(150, 100)] * 3)
    with pytest.raises(ShapeError, match=r"status has shape \(2,\) but expected \(3,\)"):
        replace(track, status=track.status[:2])
    with pytest.raises(ShapeError, match=r"landmarks has shape \(3, 468, 3\) but expected"):
        replace(track, landmarks=track.landmarks[:, :468])


def test_a_clip_of_one_frame_goes_all_the_way(face_model, tmp_path):
    geometry = estimate_geometry(track_of(face_model, [(150, 100)]), face_model)
    assert geometry.frame_count == 1
    points = posed_vertices(geometry, face_model)
    assert (draw_pncc(points, face_model, (200, 300)).triangle >= 0).any()
    assert crop_boxes(geometry, face_model).box.shape == (1, 3)
    assert edit_geometry(geometry, face_model, GeometryEdit(smoothing=0.1, shift=0.5)).frame_count == 1
    assert retime_geometry(geometry, [0.0, 1.0]).frame_count == 2
    write_glb(tmp_path / "one.glb", geometry, face_model)


def test_a_face_that_leaves_the_frame_is_followed_while_seen_and_drawn_where_it_is(face_model):
    centres = [(150 + 40 * k, 100) for k in range(10)]  # out of the right border
    status = [FrameStatus.OK] * 6 + [FrameStatus.NO_FACE] * 4
    track = track_of(face_model, centres, status)
    track = replace(track, landmarks=np.where((track.status == 0)[:, None, None], track.landmarks, 0))
    geometry = estimate_geometry(track, face_model)
    assert geometry.usable.tolist() == [True] * 6 + [False] * 4
    assert torch.isfinite(geometry.translation).all()
    drawn = (draw_pncc(posed_vertices(geometry, face_model), face_model, (200, 300)).triangle >= 0).sum(
        (1, 2)
    )
    assert drawn[0] > drawn[4] > drawn[5] >= 0
    with pytest.raises(FaceError, match="none of the 4 frames has a usable face; choose a clip"):
        estimate_geometry(track_of(face_model, centres[6:], status[6:]), face_model)


def test_a_face_infinitely_far_away_is_refused_by_the_rasteriser(face_model, moving_geometry):
    away = replace(moving_geometry, translation=moving_geometry.translation + 1e7)
    with pytest.raises(ShapeError, match="points reach .* pixels but expected at most"):
        draw_pncc(posed_vertices(away, face_model), face_model, (64, 64))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"expression": torch.zeros(8, 3)}, r"expression has shape \(8, 3\) but expected"),
        ({"identity": torch.zeros(5)}, r"identity has shape \(5,\) but expected"),
    ],
)
def test_coefficients_of_another_width(face_model, moving_geometry, change, match):
    with pytest.raises(ShapeError, match=match):
        canonical_vertices(replace(moving_geometry, **change), face_model)


def test_coefficients_of_another_number_of_frames(face_model, moving_geometry):
    with pytest.raises(ShapeError, match=r"rotation has shape \(7, 3\) but expected \(8, 3\)"):
        replace(moving_geometry, rotation=moving_geometry.rotation[:7])
    with pytest.raises(ShapeError, match="expression"):
        replace(moving_geometry, expression=moving_geometry.expression * float("nan"))
    with pytest.raises(ShapeError, match="expression"):
        shape_vertices(None, torch.zeros(face_model.expression_count), face_model)


def test_scores_and_edits_of_another_width(face_model, moving_geometry):
    narrow = replace(moving_geometry, expression=moving_geometry.expression[:, :7])
    with pytest.raises(PersonaTalkError, match="expression has shape"):
        blendshape_scores(narrow.expression, face_model)
    with pytest.raises(PersonaTalkError, match="expression has shape"):
        edit_geometry(narrow, face_model, GeometryEdit(lower_gain=1.5))
    with pytest.raises(OptionsError, match="speed is nan"):
        geometry_at_speed(moving_geometry, float("nan"))


def test_landmarks_of_another_set_are_refused_before_the_fitting(face_model):
    with pytest.raises(ShapeError, match="points"):
        initial_coefficients(torch.zeros(2, 9, 3), face_model)
