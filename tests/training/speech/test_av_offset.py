import numpy as np
import pytest
import torch

from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.training.speech.av_offset import estimate_lags, shift_between
from personatalk_core.training.speech.losses import MouthMeasure


@pytest.mark.parametrize("lag", [-6, 0, 3])
def test_shift_is_found(lag):
    sound = np.convolve(np.random.default_rng(0).normal(0, 1, 200), np.hanning(7), "same")
    assert shift_between(sound, np.roll(sound, lag), np.ones(200, bool)) == pytest.approx(lag, abs=0.3)


def test_clips_teach_each_other_their_lags(talker, face_model):
    torch.manual_seed(0)
    tiny = {"width": 24, "inner_width": 24, "layers": 1, "heads": 2, "rotary_share": 0.9, "reach": 5}
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", 16, backbone=tiny)).eval()
    torch.nn.init.normal_(encoder.backbone.conv1.weight, std=1.0)
    clips = [talker(str(i), seconds=12.0, seed=i) for i in range(6)] + [
        talker("late", seconds=12.0, seed=9, lag=4)
    ]
    lags = [c.lag for c in estimate_lags(clips, encoder, MouthMeasure(face_model))]
    assert lags[-1] - np.median(lags[:-1]) == pytest.approx(4, abs=0.7)


def test_too_few_clips_keep_what_was_stated(talker, face_model):
    clips = [talker("a", seed=1)]
    assert estimate_lags(clips, None, MouthMeasure(face_model)) is clips
