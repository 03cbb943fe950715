"""A landmarker shared by all tracking tests, the samples' frames, and small scenes put together from them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def landmarker():
    from personatalk_core.tracking.landmarks import FaceLandmarker

    with FaceLandmarker() as one:
        yield one


@pytest.fixture(scope="session")
def woman() -> np.ndarray:
    """(30, 350, 350, 3) uint8: the first sample's face, about 170 px high."""
    from personatalk_core.samples.demo import sample_frames

    return sample_frames("woman")[:30]


@pytest.fixture(scope="session")
def man() -> np.ndarray:
    """(15, 350, 350, 3) uint8: the other sample's face, about 180 px high."""
    from personatalk_core.samples.demo import sample_frames

    return sample_frames("man")[30:]


@pytest.fixture
def paste():
    """paste(canvas, picture, left, top, size): lay a picture, scaled to size x size, on a copy of the canvas;
    what sticks out is cut."""

    def lay(canvas: np.ndarray, picture: np.ndarray, left: int, top: int, size: int) -> np.ndarray:
        canvas = canvas.copy()
        scaled = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + size, canvas.shape[0]), min(left + size, canvas.shape[1])
        if y1 > y0 and x1 > x0:
            canvas[y0:y1, x0:x1] = scaled[y0 - top : y1 - top, x0 - left : x1 - left]
        return canvas

    return lay


@pytest.fixture
def track(landmarker):
    """track(frames, face="auto") -> FaceTrack at 25 frames/s."""
    from personatalk_core.config import FaceChoice
    from personatalk_core.tracking.track import track_face
    from personatalk_core.types import ClipFrames

    def run(frames, face: str = "auto", source: str = "", **options):
        frames = list(frames)
        clip = ClipFrames(
            lambda first: frames[first:], np.arange(len(frames)) / 25, frames[0].shape[:2], source
        )
        return track_face(clip, FaceChoice.parse(face), landmarker=landmarker, **options)

    return run
