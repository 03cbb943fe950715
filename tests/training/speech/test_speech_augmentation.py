import numpy as np
import pytest

from personatalk_core.training.speech import augmentation as change


@pytest.mark.parametrize(
    "kind", ["change_level", "colour", "narrow_band", "reverberate", "add_noise", "augment_sound"]
)
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
        assert 2.9 < ratio < 25.1


def test_other_speech_can_be_the_noise():
    rng = np.random.default_rng(9)
    # half of it silent, which hiss and music are not
    other = rng.normal(0, 1, 40_000) * (np.arange(40_000) > 20_000)
    quietest = []
    for seed in range(20):
        noise = change.add_noise(np.ones(40_000), np.random.default_rng(seed), other) - 1
        quietest.append(np.sort(np.abs(noise).reshape(-1, 400).mean(1))[:20].mean() / np.abs(noise).mean())
    assert 1 <= sum(share < 1e-6 for share in quietest) <= 12


@pytest.mark.parametrize("factor", [0.75, 1.0, 1.3])
def test_another_voice_says_the_same_at_the_same_time(factor):
    time = np.arange(64_000) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * 200 * time) * (np.sin(2 * np.pi * 3 * time) > 0)
    out = change.change_voice(tone, factor)
    assert out.shape == tone.shape and out.dtype == np.float32
    pitch = np.abs(np.fft.rfft(out * np.hanning(len(out)))).argmax() * 16_000 / len(out)
    assert pitch == pytest.approx(200 * factor, rel=0.02)
    before, after = (np.convolve(x.astype(np.float64) ** 2, np.ones(640), "same") for x in (tone, out))
    assert np.corrcoef(before, after)[0, 1] > 0.98
    assert out.std() == pytest.approx(tone.std(), rel=0.05)


def test_music_has_a_pitch_and_a_beat():
    sound = change.music(48_000, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(sound)) ** 2
    assert np.sort(power)[-200:].sum() > 0.5 * power.sum()  # a few lines of the spectrum hold it
    loud = np.abs(sound).reshape(-1, 800).mean(1)
    assert loud.max() > 2 * loud.min()
