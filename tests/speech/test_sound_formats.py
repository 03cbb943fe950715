"""The same line as files of other rates and layouts moves the mouth the same way."""

import wave

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly

from personatalk_core.config import SAMPLE_RATE, DubOptions
from personatalk_core.media.audio_stream import read_audio, speech_samples
from personatalk_core.models import load_models
from personatalk_core.samples.demo import DEMO_SPEECH
from personatalk_core.speech.lip_sync import predict_expression
from personatalk_core.speech.style import style_vector

FRAMES = 75


@pytest.fixture(scope="module")
def line():
    return speech_samples(read_audio(DEMO_SPEECH))[: FRAMES * 640]


@pytest.fixture(scope="module")
def mouth():
    models = load_models(DubOptions(), parts=("speech",))
    networks, slope = models.speech, models.speech.lip_sync.calibration.opening
    face, style = torch.zeros(networks.lip_sync.config.vertices, 3), style_vector(None, networks)
    return lambda samples: (
        predict_expression(torch.from_numpy(samples), FRAMES, style, face, networks) @ slope
    ).numpy()


@pytest.mark.parametrize(
    "rate, channels, least",
    [
        (8_000, 1, 0.9),
        (22_050, 2, 0.99),
        (44_100, 1, 0.99),
        (48_000, 6, 0.99),
        (48_000, 8, 0.99),
        (96_000, 2, 0.99),
    ],
)
def test_every_rate_and_layout_says_the_same(line, mouth, tmp_path, rate, channels, least):
    common = np.gcd(rate, SAMPLE_RATE)
    sound = resample_poly(line, rate // common, SAMPLE_RATE // common)
    quiet = sound / max(1.0, 1.5 * np.abs(sound).max())
    with wave.open(str(tmp_path / "line.wav"), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes((np.repeat(quiet[:, None], channels, 1) * 32767).astype("<i2").tobytes())
    read = speech_samples(read_audio(tmp_path / "line.wav"))
    assert abs(len(read) - len(line)) <= 2
    assert np.corrcoef(mouth(line), mouth(read))[0, 1] > least
