"""The ridge baseline: it learns what is linear, keeps its numbers in a file, and finds lags to a fraction of
a frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk_core.errors import WeightsError
from personatalk_core.evaluation.judges.speech_ridge import (
    SpeechRidge,
    load_speech_ridge,
    ridge_features,
    save_speech_ridge,
    shift_between,
)
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig


@pytest.fixture(scope="module")
def encoder() -> AudioEncoder:
    torch.manual_seed(0)
    tiny = {"width": 24, "inner_width": 24, "layers": 2, "heads": 2, "rotary_share": 0.9, "reach": 5}
    return AudioEncoder(AudioEncoderConfig("moonshine", 16, backbone=tiny)).eval()


@pytest.mark.parametrize("lag", [-2.5, 0.0, 1.4])
def test_a_lag_is_found_to_a_fraction_of_a_frame(lag):
    # ten steps a frame
    fine = np.convolve(np.random.default_rng(0).normal(0, 1, 4000), np.hanning(61), "same")
    seen = fine[1000:3000:10]
    predicted = fine[1000 + round(lag * 10) : 3000 + round(lag * 10) : 10]
    assert shift_between(predicted, seen, np.ones(200, bool)) == pytest.approx(lag, abs=0.15)


def test_features_see_context_and_any_length(encoder):
    samples = torch.randn(60 * 640, generator=torch.Generator().manual_seed(1)) * 0.1
    features = ridge_features(samples, 60, encoder)
    assert features.shape == (60, 2 * 24 * 7)
    middle = features.unflatten(1, (48, 7))  # the seven frames around each frame
    assert torch.allclose(middle[10, :, 4], middle[11, :, 3]) and not torch.allclose(
        middle[10, :, 3], middle[11, :, 3]
    )


def test_a_file_keeps_the_regression(tmp_path):
    generator = torch.Generator().manual_seed(0)
    ridge = SpeechRidge(torch.randn(8, 5, generator=generator), torch.zeros(8), torch.ones(8), "f" * 64)
    save_speech_ridge(tmp_path / "r.safetensors", ridge, "test")
    again = load_speech_ridge(tmp_path / "r.safetensors")
    x = torch.randn(4, 8, generator=generator)
    for mine, theirs in zip(ridge(x), again(x), strict=True):
        assert torch.allclose(mine, theirs, atol=2e-2)
    assert again.face_model == "f" * 64
    with pytest.raises(WeightsError):
        load_speech_ridge(tmp_path / "missing.safetensors")


def test_the_bundled_one_belongs_to_the_bundled_face():
    ridge, face = load_speech_ridge(), load_face_model()
    assert ridge.face_model == face.sha256
    assert ridge.weight.shape == (2 * 288 * 7, 2 + face.lower_count)
