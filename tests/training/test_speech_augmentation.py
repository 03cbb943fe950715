import numpy as np
import pytest

from personatalk_core.training import speech_augmentation as change


@pytest.mark.parametrize("kind", ["change_level", "colour", "narrow_band", "reverberate", "add_noise", "augment_sound"])
def test_nothing_moves_in_time(kind):
    rng = np.random.default_rng(0)
    samples = np.zeros(32_000)
    for beat in (6_000, 14_000, 21_000):
        samples[beat : beat + 800] = rng.normal(0, 0.3, 800)
    out = getattr(change, kind)(samples.copy(), np.random.default_rng(1))
    assert out.shape == samples.shape and np.isfinite(out).all()
    envelope, before = (np.abs(x).reshape(-1, 160).mean(1) for x in (out, samples))
    lags = range(-10, 11)
    best = max(lags, key=lambda lag: np.corrcoef(np.roll(before, lag), envelope)[0, 1])
    assert abs(best) <= 1


def test_noise_has_the_stated_share():
    samples = np.sin(np.arange(64_000) / 10)
    for seed in range(5):
        noise = change.add_noise(samples, np.random.default_rng(seed)) - samples
        ratio = 10 * np.log10((samples**2).mean() / (noise**2).mean())
        assert 4.9 < ratio < 30.1


def test_other_speech_can_be_the_noise():
    other = np.random.default_rng(9).normal(0, 1, 40_000)
    found = 0
    for seed in range(10):
        noise = change.add_noise(np.ones(30_000), np.random.default_rng(seed), other) - 1
        found += np.corrcoef(noise, other[::-1][:30_000])[0, 1] > 0.9
    assert 1 <= found <= 9
