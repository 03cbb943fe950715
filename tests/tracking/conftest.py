"""A landmarker shared by all tracking tests, the sample's frames, and small scenes put together from them."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(scope="session")
def landmarker():
    from personatalk_core.tracking.landmarks import FaceLandmarker

    with FaceLandmarker() as one:
        yield one


@pytest.fixture(scope="session")
def woman() -> np.ndarray:
    """(30, 350, 350, 3) uint8: the sample's face, about 150 px wide."""
    from personatalk_core.demo import sample_frames

    return sample_frames("woman")[:30]


@pytest.fixture(scope="session")
def man() -> np.ndarray:
    """(30, H, W, 3) uint8: another person."""
    from personatalk_core.demo import sample_frames

    return sample_frames("man")[:30]


@pytest.fixture
def track(landmarker):
    """track(frames, face="auto") -> FaceTrack at 25 frames/s."""
    from personatalk_core.config import FaceChoice
    from personatalk_core.tracking.track import track_face

    def run(frames, face: str = "auto", **options):
        frames = list(frames)
        times = np.arange(len(frames)) / 25
        return track_face(iter(frames), times, frames[0].shape[:2], FaceChoice.parse(face), landmarker=landmarker, **options)

    return run
