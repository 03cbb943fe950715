"""Geometry at other times is interpolated within shots and held at its ends; frozen parts stand still."""

import pytest
import torch

from personatalk_core.errors import OptionsError, ShapeError
from personatalk_core.geometry.editing import freeze_geometry, geometry_at_speed, retime_geometry
from personatalk_core.types import FRAME_FIELDS


def test_its_own_times_change_nothing(moving_geometry):
    again = retime_geometry(moving_geometry, moving_geometry.times)
    for name in FRAME_FIELDS:
        torch.testing.assert_close(getattr(again, name), getattr(moving_geometry, name))


def test_halfway_is_the_mean_of_two_frames(moving_geometry):
    again = retime_geometry(moving_geometry, [0.02, 0.06])
    torch.testing.assert_close(again.translation[0], torch.tensor([100.5, 89.5]))
    torch.testing.assert_close(again.scale, torch.tensor([70.5, 71.5]))
    assert again.times.tolist() == pytest.approx([0, 0.04])


def test_a_cut_is_never_blended(moving_geometry):
    again = retime_geometry(moving_geometry, [0.171, 0.189])  # between frames 4 and 5
    assert again.shot.tolist() == [0, 1]
    torch.testing.assert_close(again.scale, torch.tensor([74.0, 75.0]))


def test_ends_are_held_and_backwards_works(moving_geometry):
    again = retime_geometry(moving_geometry, [9.0, 0.04, -3.0])
    assert again.source_frame.tolist() == [7, 1, 0]
    assert (again.times.diff() > 0).all()


@pytest.mark.parametrize("times", [[], [float("nan")]])
def test_bad_times_are_refused(moving_geometry, times):
    with pytest.raises(ShapeError, match="times"):
        retime_geometry(moving_geometry, times)


def test_frozen_parts_stand_still_and_others_move(moving_geometry, face_model):
    lower = freeze_geometry(moving_geometry, face_model, 3)
    count = face_model.lower_count
    assert float(lower.expression[:, :count].std(0).max()) < 1e-6
    torch.testing.assert_close(lower.expression[0, :count], moving_geometry.expression[3, :count])
    assert torch.equal(lower.expression[:, count:], moving_geometry.expression[:, count:])
    pose = freeze_geometry(moving_geometry, face_model, 0, part="pose")
    assert float(pose.rotation.abs().max()) == 0 and torch.equal(pose.expression, moving_geometry.expression)


def test_unknown_frames_and_parts_are_refused(moving_geometry, face_model):
    with pytest.raises(OptionsError, match="0 to 7"):
        freeze_geometry(moving_geometry, face_model, 8)
    with pytest.raises(OptionsError, match="'nose'"):
        freeze_geometry(moving_geometry, face_model, 0, part="nose")


def test_speed_plays_picture_and_mouth_together(moving_geometry):
    assert geometry_at_speed(moving_geometry, 1.0) is moving_geometry
    step = float(moving_geometry.durations[0])
    fast, slow = geometry_at_speed(moving_geometry, 2.0), geometry_at_speed(moving_geometry, 0.5)
    assert (fast.frame_count, slow.frame_count) == (
        moving_geometry.frame_count // 2,
        moving_geometry.frame_count * 2,
    )
    assert fast.source_frame.tolist() == list(range(0, moving_geometry.frame_count, 2))
    for played in (fast, slow):
        torch.testing.assert_close(played.durations, torch.full_like(played.durations, step))
        torch.testing.assert_close(played.times, torch.arange(played.frame_count).to(played.times) * step)
        assert played.audio == ("", "") and played.reference is moving_geometry


@pytest.mark.parametrize("speed", [0.0, -1.0, 20.0, float("nan")])
def test_impossible_speeds_are_refused(moving_geometry, speed):
    with pytest.raises(OptionsError, match="speed"):
        geometry_at_speed(moving_geometry, speed)
