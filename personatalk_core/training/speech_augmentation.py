"""What may happen to speech on its way to a microphone, and to a mouth from person to person, without changing the words."""

from __future__ import annotations

import numpy as np
from scipy.signal import fftconvolve

from ..config import SAMPLE_RATE


def change_level(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Any loudness between whispered and clipped: -18 to +9 dB."""
    return (samples * 10 ** (rng.uniform(-18, 9) / 20)).clip(-1, 1)


def colour(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smooth random frequency response of up to 12 dB, as of another microphone, room or throat."""
    points = rng.uniform(-12, 12, 7)
    spectrum = np.fft.rfft(samples)
    position = np.linspace(0, 6, len(spectrum)) ** 0.5 * 6**0.5
    return np.fft.irfft(spectrum * 10 ** (np.interp(position, np.arange(7), points) / 20), len(samples))


def narrow_band(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Only 150 to 2,800-5,000 Hz, as of a telephone."""
    spectrum = np.fft.rfft(samples)
    hertz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * ((hertz > 150) & (hertz < rng.uniform(2800, 5000))), len(samples))


def reverberate(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A room: noise decaying over 0.1 to 0.5 s, quieter than the direct sound."""
    decay = rng.uniform(0.1, 0.5)
    length = int(decay * SAMPLE_RATE)
    response = rng.standard_normal(length) * np.exp(-6.9 * np.arange(length) / length)
    response *= rng.uniform(0.2, 0.7) / np.sqrt((response**2).sum())
    response[0] += 1.0
    return fftconvolve(samples, response)[: len(samples)]


def add_noise(samples: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None) -> np.ndarray:
    """Noise of a random slope, or other people's speech played backwards, at 5 to 30 dB below the speech."""
    if other is not None and len(other) > SAMPLE_RATE and rng.random() < 0.4:
        noise = np.resize(other[::-1], len(samples)).astype(np.float64)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
        spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0, 1)
        noise = np.fft.irfft(spectrum, len(samples))
    ratio = rng.uniform(5, 30)
    power, noise_power = (samples**2).mean(), (noise**2).mean() + 1e-12
    return samples + noise * np.sqrt(power / noise_power * 10 ** (-ratio / 10))


def augment_sound(samples: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None) -> np.ndarray:
    """Some of the above, in the order in which they happen. samples (S,) to (S,) float32."""
    if rng.random() < 0.6:
        samples = colour(samples, rng)
    if rng.random() < 0.3:
        samples = reverberate(samples, rng)
    if rng.random() < 0.4:
        samples = add_noise(samples, rng, other)
    if rng.random() < 0.1:
        samples = narrow_band(samples, rng)
    return np.ascontiguousarray(change_level(samples, rng), dtype=np.float32)
