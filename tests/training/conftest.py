"""Made-up talkers whose mouths follow the loudness of their sound, so that training has something to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk_core.geometry.face_model import FaceModel, load_face_model
from personatalk_core.training.speech.data import SpeechClip


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return load_face_model()


def make_talker(face_model: FaceModel):
    """A function that makes a SpeechClip; ``lag`` shifts the mouth behind its sound."""

    def make(
        name: str = "a", seconds: float = 4.0, seed: int = 0, gain: float = 1.0, lag: int = 0
    ) -> SpeechClip:
        rng = np.random.default_rng(seed)
        frames = int(seconds * 25)
        loud = np.clip(
            np.convolve(rng.normal(0, 1, frames + 40), np.hanning(9) / 4, "same")[20:-20], 0, None
        )  # (T,)
        samples = rng.normal(0, 0.1, frames * 640) * np.repeat(loud, 640)
        expression = torch.zeros(frames, face_model.lower_count)
        expression[:, 0] = torch.from_numpy(np.roll(loud, lag)).float() * 2 * gain - 1
        valid, identity = torch.ones(frames, dtype=torch.bool), torch.zeros(face_model.identity_count)
        return SpeechClip(f"{name}{seed}", name, samples.astype(np.float32), expression, valid, identity)

    return make


@pytest.fixture(scope="session")
def talker(face_model):
    """Makes a SpeechClip; ``lag`` shifts the mouth behind its sound."""
    return make_talker(face_model)
