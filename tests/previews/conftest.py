"""The sample's video with a face of neutral coefficients in its middle."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.media.video_reader import probe
from personatalk_core.types import FaceGeometry


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


@pytest.fixture
def clip(sample_video):
    return probe(sample_video)


@pytest.fixture
def geometry(clip, face_model):
    frames = clip.frame_count
    return FaceGeometry(
        torch.zeros(face_model.identity_count),
        torch.zeros(frames, face_model.expression_count),
        torch.zeros(frames, 3),
        torch.full((frames, 2), 175.0),
        torch.full((frames,), 60.0),
        torch.zeros(frames, dtype=torch.uint8),
        torch.zeros(frames, dtype=torch.int64),
        torch.arange(frames),
        torch.from_numpy(clip.times),
        torch.from_numpy(clip.durations),
        (clip.height, clip.width),
        face_model.sha256,
    )
