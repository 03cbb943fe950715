"""Small untrained speech networks on the bundled face model, and a moving face."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.geometry.face_model import FaceModel, load_face_model
from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.speech.networks import SpeechNetworks, network_for
from personatalk_core.types import FaceGeometry

TINY = {"width": 24, "inner_width": 32, "layers": 2, "heads": 2, "rotary_share": 0.9, "reach": 5}


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return load_face_model()


@pytest.fixture
def networks(face_model) -> SpeechNetworks:
    torch.manual_seed(1)
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=TINY)).eval()
    network = network_for(face_model, width=32, heads=2, layers=1, reach=4).eval()
    for layer in (network.amplitude, network.rest):
        torch.nn.init.normal_(layer.weight, std=0.1)
    torch.nn.init.normal_(encoder.backbone.conv1.weight, std=1.0)
    return SpeechNetworks(encoder, network, sha256="n" * 64)


@pytest.fixture
def moving_face(face_model):
    """Makes a FaceGeometry of ``frames`` frames at ``fps`` whose expression is a slow random walk."""

    def make(frames: int = 60, fps: float = 25.0, seed: int = 0, scale: float = 1.0) -> FaceGeometry:
        generator = torch.Generator().manual_seed(seed)
        walk = torch.randn(frames, face_model.expression_count, generator=generator).cumsum(0) * 0.1 * scale
        return FaceGeometry(
            identity=torch.randn(face_model.identity_count, generator=generator) * 0.3,
            expression=walk,
            rotation=torch.randn(frames, 3, generator=generator) * 0.1,
            translation=torch.full((frames, 2), 100.0),
            scale=torch.full((frames,), 80.0),
            status=torch.zeros(frames, dtype=torch.uint8),
            shot=torch.zeros(frames, dtype=torch.int64),
            source_frame=torch.arange(frames),
            times=torch.arange(frames, dtype=torch.float64) / fps,
            durations=torch.full((frames,), 1 / fps, dtype=torch.float64),
            frame_size=(200, 200),
            face_model=face_model.sha256,
            source="s" * 64,
        )

    return make
