"""The bundled face model, a small untrained renderer, and a synthetic clip, shared by the evaluation
tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from personatalk_core.evaluation.speed.synthetic_clip import SyntheticClip, synthetic_clip
from personatalk_core.geometry.face_model import FaceModel, load_face_model
from personatalk_core.models import Models
from personatalk_core.rendering.renderer import RendererConfig, build_renderer


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="session")
def clip(face_model) -> SyntheticClip:
    """30 frames of a synthetic face at 256 x 256."""
    return synthetic_clip(face_model, 30, seed=3)


@pytest.fixture(scope="session")
def models(face_model) -> Models:
    """No speech network, an untrained renderer of small width."""
    config = RendererConfig(width=16, attention_width=8, decoder_width=16)
    weights = Path(__file__).resolve().parents[2] / "personatalk_core" / "weights"
    return Models(
        weights / "face_landmarker.task",
        face_model,
        None,
        build_renderer(config),
        torch.device("cpu"),
        torch.float32,
        {},
    )
