"""What may lie beneath speech when its reader is tested: hiss, people talking, music. Same sound every
time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...config import SAMPLE_RATE

DISTURBANCES = ("hiss", "babble", "music")


def disturb(samples: np.ndarray, kind: str, decibels: float, others: Sequence[np.ndarray] = ()) -> np.ndarray:
    """Speech (S,) at 16 kHz with something ``decibels`` below it.

    Args:
        kind:   of DISTURBANCES. hiss falls by 3 dB an octave above 40 Hz; babble is everybody in ``others``
            at once; music is a
            bass line of sawtooth chords, two a second, with a hi-hat.
        others: other people's speech, for babble; each is repeated where it is short.
    """
    count = len(samples)
    rng = np.random.default_rng(0)
    if kind == "hiss":
        spectrum = np.fft.rfft(rng.standard_normal(count))
        bins = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 40.0)
        noise = np.fft.irfft(spectrum / np.sqrt(bins), count)
    elif kind == "babble":
        noise = sum(np.resize(x, count) / max(float(np.std(x)), 1e-6) for x in others)
    else:
        noise = _band(count, rng)
    noise = noise * np.sqrt((samples**2).mean() / ((noise**2).mean() + 1e-12) * 10 ** (-decibels / 10))
    return (samples + noise).astype(np.float32)


def _band(count: int, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(count) / SAMPLE_RATE
    beat = (2 * time).astype(int)
    root = 110 * 2 ** (np.array([0, 5, 7, 3])[beat % 4] / 12)
    phase = np.cumsum(root) / SAMPLE_RATE
    chord = sum(2 * ((phase * 2 ** (k / 12)) % 1.0) - 1 for k in (0, 4, 7))
    hat = rng.standard_normal(count) * np.exp(-((4 * time) % 1.0) * 20)
    return chord * np.exp(-((2 * time) % 1.0) * 1.5) + 0.7 * hat
