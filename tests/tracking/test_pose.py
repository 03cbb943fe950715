"""Turned points give their turn back; a really turned head is read as turned."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from personatalk_core.tracking.appearance import RIGID_LANDMARKS, RIGID_POINTS, head_pose
from personatalk_core.types import FrameStatus


def turned(yaw: float, pitch: float, roll: float = 0.0) -> np.ndarray:
    """(478, 3) landmarks of the mean face; x right, y down, z nearer, so a right-handed frame after y and z
    change sign."""
    flip = np.diag([1.0, -1.0, 1.0])
    rotation = Rotation.from_euler("YXZ", [yaw, -pitch, roll], degrees=True).as_matrix()
    points = np.zeros((478, 3))
    points[list(RIGID_LANDMARKS)] = RIGID_POINTS @ flip @ rotation.T @ flip * 90 + (300, 200, 5)
    return points


@pytest.mark.parametrize(("yaw", "pitch"), [(0, 0), (25, 0), (-60, 0), (0, 20), (30, -15)])
def test_known_turns_come_back(yaw, pitch):
    assert head_pose(turned(yaw, pitch)) == pytest.approx((yaw, pitch), abs=0.01)


def test_roll_changes_no_turn():
    yaw, pitch = head_pose(turned(0, 0, roll=35))
    assert (yaw, pitch) == pytest.approx((0, 0), abs=0.01)


def test_a_head_turned_to_the_side_is_followed_and_named(corpus, track):
    """This man turns from the camera by about 60 degrees and comes back."""
    import av

    path = next((corpus / "train").glob("styletalk_21__*"))
    with av.open(str(path)) as container:
        frames = [
            f.to_ndarray(format="rgb24") for _, f in zip(range(75), container.decode(video=0), strict=False)
        ]
    result = track(frames[40:75])
    assert set(result.status.tolist()) <= {FrameStatus.OK, FrameStatus.SIDE}
    assert (result.status == FrameStatus.OK).sum() >= 25
