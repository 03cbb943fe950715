"""A short made-up geometry of the bundled face model."""

import pytest
import torch

from personatalk_core.geometry.face_model import FaceModel, load_face_model
from personatalk_core.types import FaceGeometry


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return load_face_model()


@pytest.fixture
def moving_geometry(face_model) -> FaceGeometry:
    """Eight frames at 25 frames/s with a cut before the fifth; jawOpen rises by 0.1 a frame."""
    t = torch.arange(8)
    return FaceGeometry(
        identity=torch.randn(face_model.identity_count, generator=torch.Generator().manual_seed(0)) * 0.3,
        expression=torch.outer(t * 0.1, face_model.direction("jawOpen")),
        rotation=torch.stack([t * 0.02, t * 0.05, t * -0.01], 1),
        translation=torch.stack([100.0 + t, 90.0 - t], 1),
        scale=70.0 + t,
        status=torch.zeros(8, dtype=torch.uint8),
        shot=(t >= 5).long(),
        source_frame=t.clone(),
        times=t.double() / 25,
        durations=torch.full((8,), 0.04, dtype=torch.float64),
        frame_size=(180, 200),
        face_model=face_model.sha256,
    )
