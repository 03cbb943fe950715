"""Edits of generated geometry against answers known by hand."""

import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.geometry.editing import GeometryEdit, edit_geometry
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.types import FaceGeometry

FPS = 25


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


@pytest.fixture
def geometry(face_model):
    frames = 40
    generator = torch.Generator().manual_seed(0)
    return FaceGeometry(
        identity=torch.zeros(face_model.identity_count),
        expression=torch.randn(frames, face_model.expression_count, generator=generator),
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 2),
        scale=torch.ones(frames),
        status=torch.zeros(frames, dtype=torch.uint8),
        shot=(torch.arange(frames) >= 20).long(),
        source_frame=torch.arange(frames),
        times=torch.arange(frames, dtype=torch.float64) / FPS,
        durations=torch.full((frames,), 1 / FPS, dtype=torch.float64),
        frame_size=(100, 100),
        face_model=face_model.sha256,
    )


def test_no_edit_changes_nothing(geometry, face_model):
    assert torch.equal(edit_geometry(geometry, face_model, GeometryEdit()).expression, geometry.expression)


def test_input_is_never_changed(geometry, face_model):
    before = geometry.expression.clone()
    edit_geometry(geometry, face_model, GeometryEdit(0.5, 0.5, 0.1, 0.1, {"jawOpen": 0.3}))
    assert torch.equal(geometry.expression, before)


def test_gain_zero_keeps_the_mouth_still_and_the_brows_moving(geometry, face_model):
    still = edit_geometry(geometry, face_model, GeometryEdit(lower_gain=0.0)).expression
    lower = face_model.lower_count
    for shot in (slice(0, 20), slice(20, 40)):
        assert float((still[shot, :lower] - still[shot, :lower][0]).abs().max()) < 1e-6
    assert torch.equal(still[:, lower:], geometry.expression[:, lower:])


def test_gain_scales_about_the_median(geometry, face_model):
    twice = edit_geometry(geometry, face_model, GeometryEdit(lower_gain=2.0)).expression[:20, 0]
    own = geometry.expression[:20, 0]
    torch.testing.assert_close(twice - own.median(), 2 * (own - own.median()))


def test_shift_by_whole_frames_moves_rows_and_stops_at_cuts(geometry, face_model):
    later = edit_geometry(geometry, face_model, GeometryEdit(shift=3 / FPS)).expression[
        :, : face_model.lower_count
    ]
    own = geometry.expression[:, : face_model.lower_count]
    torch.testing.assert_close(later[3:20], own[:17], atol=1e-5, rtol=0)
    torch.testing.assert_close(later[20:23], own[20:21].expand(3, -1), atol=1e-5, rtol=0)


def test_half_a_frame_is_the_mean_of_two(geometry, face_model):
    later = edit_geometry(geometry, face_model, GeometryEdit(shift=0.5 / FPS)).expression[5, 0]
    torch.testing.assert_close(
        later, (geometry.expression[4, 0] + geometry.expression[5, 0]) / 2, atol=1e-5, rtol=0
    )


def test_smoothing_calms_and_keeps_the_mean(geometry, face_model):
    smooth = edit_geometry(geometry, face_model, GeometryEdit(smoothing=0.08)).expression[
        :20, : face_model.lower_count
    ]
    own = geometry.expression[:20, : face_model.lower_count]
    assert smooth.diff(dim=0).abs().mean() < 0.4 * own.diff(dim=0).abs().mean()
    assert float((smooth.mean(0) - own.mean(0)).abs().max()) < 0.4


def test_added_direction_is_the_face_models_own(geometry, face_model):
    added = (
        edit_geometry(geometry, face_model, GeometryEdit(add={"jawOpen": 0.25})).expression
        - geometry.expression
    )
    torch.testing.assert_close(
        added, 0.25 * face_model.direction("jawOpen").expand_as(added), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize(
    "edit",
    [
        GeometryEdit(lower_gain=2.5),
        GeometryEdit(smoothing=-1),
        GeometryEdit(shift=5),
        GeometryEdit(add={"wink": 1.0}),
    ],
)
def test_out_of_range_is_refused(geometry, face_model, edit):
    with pytest.raises(OptionsError):
        edit_geometry(geometry, face_model, edit)
