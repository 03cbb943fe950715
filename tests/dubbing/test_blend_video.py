"""Laying a rendering over another version of its source, on tiny clips."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from personatalk_core.config import DubOptions
from personatalk_core.dubbing.blend_video import blend_videos
from personatalk_core.errors import MediaError
from personatalk_core.media.array_files import read_frames, write_frames
from personatalk_core.media.video_reader import probe
from personatalk_core.types import FaceGeometry

SIZE = (32, 40)


def geometry_over(shown):
    count = len(shown)
    return FaceGeometry(
        torch.zeros(1),
        torch.zeros(count, 1),
        torch.zeros(count, 3),
        torch.zeros(count, 2),
        torch.ones(count),
        torch.zeros(count, dtype=torch.uint8),
        torch.zeros(count, dtype=torch.int64),
        torch.tensor(shown),
        torch.arange(count, dtype=torch.float64) / 10,
        torch.full((count,), 0.1, dtype=torch.float64),
        SIZE,
        "m",
    )


@pytest.fixture
def clips(tmp_path):
    """Source of 3 grey levels, a rendering of 4 white frames, a mask of the left half."""
    half = np.zeros((4, *SIZE, 3), np.uint8)
    half[:, :, :20] = 255
    frames = {
        "under": np.stack([np.full((*SIZE, 3), level, np.uint8) for level in (40, 80, 120)]),
        "over": np.full((4, *SIZE, 3), 255, np.uint8),
        "mask": half,
    }
    return {
        name: probe(write_frames(tmp_path / f"{name}.mp4", f, len(f), Fraction(10)))
        for name, f in frames.items()
    }


def test_source_frames_follow_the_geometry(tmp_path, clips):
    out = tmp_path / "out.mp4"
    blend_videos(
        clips["under"],
        clips["over"],
        clips["mask"],
        geometry_over([0, 1, 2, 1]),
        out,
        DubOptions(lossless=True),
    )
    back = np.rint(read_frames(out)[0] * 255)
    assert (back[:, :, :20] == 255).all()
    assert [float(frame[0, -1, 0]) for frame in back] == [40, 80, 120, 80]


def test_what_does_not_fit_is_refused_and_nothing_written(tmp_path, clips):
    out = tmp_path / "out.mp4"
    for shown in ([0, 1, 2], [0, 1, 2, 3]):  # another count than rendered; a frame the source lacks
        with pytest.raises(MediaError):
            blend_videos(
                clips["under"],
                clips["over"],
                clips["mask"],
                geometry_over(shown),
                out,
                DubOptions(lossless=True),
            )
    small = probe(write_frames(tmp_path / "small.mp4", np.zeros((4, 16, 16, 3), np.uint8), 4, Fraction(10)))
    with pytest.raises(MediaError, match="16x16"):
        blend_videos(
            clips["under"], small, clips["mask"], geometry_over([0, 1, 2, 1]), out, DubOptions(lossless=True)
        )
    assert not out.exists()
