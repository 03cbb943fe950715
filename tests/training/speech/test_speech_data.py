from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.config import SAMPLES_PER_FRAME
from personatalk_core.training.speech.data import CONTEXT, WindowSampler, rest_expression
from personatalk_core.training.speech.losses import MouthMeasure


@pytest.fixture
def measure(face_model) -> MouthMeasure:
    return MouthMeasure(face_model)


def loudness(samples: torch.Tensor, frames: int) -> torch.Tensor:
    inner = samples[:, CONTEXT : CONTEXT + frames * SAMPLES_PER_FRAME]
    return inner.reshape(len(samples), frames, SAMPLES_PER_FRAME).std(-1)


def test_sound_and_mouth_of_a_window_belong_together(talker, measure):
    sampler = WindowSampler([talker(seconds=8.0)], measure, frames=60, augment=False)
    batch = sampler.batch(4, step=0)
    heard, seen = loudness(batch.samples, 60), batch.expression[:, :, 0]
    for h, s in zip(heard, seen, strict=True):
        assert np.corrcoef(h, s)[0, 1] > 0.9


def test_a_stated_lag_is_corrected(talker, measure):
    late = talker(seconds=8.0, lag=5)
    batch = WindowSampler([replace(late, lag=5.0)], measure, frames=60, augment=False).batch(4, step=0)
    for h, s in zip(loudness(batch.samples, 60), batch.expression[:, :, 0], strict=True):
        assert np.corrcoef(h, s)[0, 1] > 0.9


def test_mouth_and_sound_change_speed_together(talker, measure):
    batch = WindowSampler([talker(seconds=20.0)], measure, frames=100).batch(8, step=3)
    good = [
        np.corrcoef(h, s)[0, 1]
        for h, s in zip(loudness(batch.samples, 100), batch.expression[:, :, 0], strict=True)
    ]
    assert np.median(good) > 0.6


def test_short_clips_are_padded_and_not_asked_about(talker, measure):
    batch = WindowSampler([talker(seconds=2.0)], measure, frames=100, augment=False).batch(2, step=0)
    assert torch.allclose(batch.valid.sum(1), torch.tensor([50.0, 50.0]), atol=2)


def test_the_same_step_gives_the_same_batch(talker, measure):
    clips = [talker("a", seed=1), talker("b", seed=2)]
    one, two = (WindowSampler(clips, measure, seed=5).batch(3, step=7) for _ in range(2))
    assert torch.equal(one.samples, two.samples) and torch.equal(one.expression, two.expression)
    assert not torch.equal(one.samples, WindowSampler(clips, measure, seed=5).batch(3, step=8).samples)


def test_inserted_silence_is_quiet_and_asks_for_the_resting_mouth(talker, measure):
    clip = talker(seconds=20.0)
    sampler = WindowSampler([clip], measure, frames=100)
    seen = 0
    for step in range(6):
        batch = sampler.batch(8, step)
        heard = loudness(batch.samples, 100)
        for i in range(8):
            silent = batch.silent[i] > 0
            if silent.any() and (~silent).sum() > 20:
                seen += 1
                assert heard[i][silent].max() < 0.1 * heard[i].max()
                assert float(batch.expression[i][silent].std(0).max()) < 1e-5
    assert seen > 3


def test_rest_is_the_closed_mouth(talker, measure):
    for clip in (
        talker(seconds=20.0),
        replace(talker(seconds=20.0), expression=-talker(seconds=20.0).expression),
    ):
        opening = measure(clip.expression[None], clip.identity[None])[0]
        rest = measure(rest_expression(clip, measure)[None, None], clip.identity[None])[0]
        assert float(rest) <= float(opening.quantile(0.15)) + 1e-6


def test_style_shows_the_same_person(talker, measure):
    clips = [
        talker("quiet", seed=1, gain=0.2),
        talker("quiet", seed=2, gain=0.2),
        talker("loud", seed=3, gain=3.0),
    ]
    batch = WindowSampler(clips, measure, frames=60, augment=False).batch(12, step=0)
    for i in range(12):
        style = batch.style_expression[i, :, 0][batch.style_weight[i] > 0]
        assert abs(float(style.std() / batch.expression[i, :, 0].std()) - 1) < 0.8
