"""The mesh and the coordinate map over a video, and the status of frames that have none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.geometry.vertices import posed_vertices
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.previews.mesh_overlay import draw_coordinates, draw_mesh, write_preview
from personatalk_core.types import FrameStatus


@pytest.mark.parametrize("draw", [draw_mesh, draw_coordinates])
def test_drawings_stay_on_the_face_and_leave_the_frame_alone(draw, geometry, face_model):
    frame = np.zeros((350, 350, 3), np.uint8)
    points = posed_vertices(geometry[[0]], face_model)[0]
    drawn = draw(frame, points, face_model)
    assert not frame.any() and drawn.shape == frame.shape and drawn.dtype == np.uint8
    rows, columns = drawn.any(2).nonzero()
    low, high = points[:, :2].amin(0), points[:, :2].amax(0)
    assert low[0] - 2 < columns.min() and columns.max() < high[0] + 2
    assert low[1] - 2 < rows.min() and rows.max() < high[1] + 2


def test_frames_without_a_usable_face_name_their_status(clip, geometry, face_model, tmp_path):
    short = geometry[:4]
    status = torch.tensor([0, int(FrameStatus.SIDE), 0, 0], dtype=torch.uint8)
    done = []
    for name, given in (("plain", short), ("named", replace(short, status=status))):
        write_preview(
            clip, given, face_model, tmp_path / f"{name}.mp4", on_progress=lambda *now: done.append(now)
        )
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)] * 2
    plain, named = (
        list(VideoReader(probe(tmp_path / f"{n}.mp4")).frames(range(4))) for n in ("plain", "named")
    )
    change = [np.abs(a.astype(int) - b).mean() for a, b in zip(plain, named, strict=True)]
    assert change[1] > 10 * max(change[0], change[3], 0.1)


def test_another_drawing_is_refused(clip, geometry, face_model, tmp_path):
    with pytest.raises(OptionsError, match="drawing is 'wire' but expected one of mesh, pncc"):
        write_preview(clip, geometry, face_model, tmp_path / "out.mp4", drawing="wire")
