"""What may happen to speech on its way to a microphone, and to a mouth from person to person, without
changing the words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from scipy.signal import fftconvolve
from torch import Tensor

from ...config import SAMPLE_RATE
from ...geometry.face_model import FaceModel

# samples: 30 ms and 7.5 ms, so that a period of the deepest voice can be skipped or repeated
PIECE, SEARCH = (
    480,
    120,
)


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


def change_voice(samples: np.ndarray, factor: float) -> np.ndarray:
    """Another throat: pitch and formants times ``factor``, every sound where it was.

    The sound is stretched by ``factor`` from overlapping pieces, each taken where it continues the last one
    best (WSOLA, Verhelst and Roelands 1993); reading the result that much faster brings the timing back.

    Args:
        samples: (S,) at 16 kHz.
        factor:  in [0.5, 2].
    Returns:
        (S,) float32.
    """
    window, hop = np.hanning(PIECE + 1)[:-1].astype(np.float32), PIECE // 2
    edge = PIECE + 2 * SEARCH
    padded = np.pad(np.asarray(samples, dtype=np.float32), (edge, edge + PIECE))
    count = int(len(samples) * factor) // hop + 2
    ideal = ((np.arange(count) * hop + hop) / factor - hop).round().astype(
        int
    ) + edge  # where each piece should begin
    stretched = np.zeros(count * hop + PIECE, np.float32)
    begin = ideal[0]
    for number, ideal_begin in enumerate(ideal.clip(SEARCH, len(padded) - PIECE - SEARCH)):
        if number:
            around = padded[ideal_begin - SEARCH : ideal_begin + SEARCH + PIECE]
            following = padded[begin + hop : begin + hop + PIECE]
            begin = (
                ideal_begin - SEARCH + int(np.correlate(around[::2], following[::2], "valid").argmax()) * 2
            )
        stretched[number * hop : number * hop + PIECE] += window * padded[begin : begin + PIECE]
    return np.interp(np.arange(len(samples)) * factor, np.arange(len(stretched)), stretched).astype(
        np.float32
    )


def music(length: int, rng: np.random.Generator) -> np.ndarray:
    """(S,) chords of a few decaying overtones with a beat beneath them, as of a song under speech."""
    beat = int(rng.uniform(0.3, 0.8) * SAMPLE_RATE)
    time = np.arange(beat) / SAMPLE_RATE
    sound = np.zeros(length + beat)
    for begin in range(0, length, beat):
        chord = np.zeros(beat)
        root = 110 * 2 ** (rng.integers(0, 24) / 12)
        for interval in (0, rng.integers(3, 5), 7):
            for overtone in range(1, 5):
                chord += (
                    np.sin(2 * np.pi * root * 2 ** (interval / 12) * overtone * time + rng.uniform(0, 6.28))
                    / overtone**1.5
                )
        drum = rng.standard_normal(beat) * np.exp(-time * 60) * rng.uniform(0, 2)
        sound[begin : begin + beat] += chord * np.exp(-time * rng.uniform(1, 8)) + drum
    return sound[:length]


def add_noise(samples: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None) -> np.ndarray:
    """What is heard beneath speech, 3 to 25 dB below it: hiss or rumble, music, or other people talking.

    other: (S',) somebody else's speech, for the last of these.
    """
    kind = rng.random()
    if kind < 0.4 and other is not None and len(other) > SAMPLE_RATE:
        noise = np.resize(np.roll(other, int(rng.integers(len(other)))), len(samples)).astype(np.float64)
        noise = noise + (np.roll(noise[::-1], int(rng.integers(len(noise)))) if rng.random() < 0.5 else 0.0)
    elif kind < 0.6:
        noise = music(len(samples), rng)
    else:
        spectrum = np.fft.rfft(rng.standard_normal(len(samples)))
        spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0, 1)
        noise = np.fft.irfft(spectrum, len(samples))
    ratio = rng.uniform(3, 25)
    power, noise_power = (samples**2).mean(), (noise**2).mean() + 1e-12
    return samples + noise * np.sqrt(power / noise_power * 10 ** (-ratio / 10))


def babble(others: Sequence[np.ndarray], length: int, rng: np.random.Generator) -> np.ndarray:
    """(S,) several people talking at once, each as loud as the next and begun anywhere; others: (S',) of
    each."""
    voices = [
        np.resize(np.roll(x, int(rng.integers(len(x)))), length) / max(float(np.std(x)), 1e-6) for x in others
    ]
    return np.sum(voices, axis=0) if voices else rng.standard_normal(length)


def tones(length: int, rng: np.random.Generator) -> np.ndarray:
    """(S,) held chords of bright voices (sawtooth to sine) with struck noise between them, as of a band."""
    time = np.arange(length) / SAMPLE_RATE
    rate = rng.uniform(1.0, 4.0)
    roots = 70 * 2 ** (rng.integers(0, 30, 8) / 12)
    phase = np.cumsum(roots[(rate * time).astype(int) % 8]) / SAMPLE_RATE
    bright = rng.uniform(0.2, 1.0)
    chord = np.zeros(length)
    for interval in (0, rng.integers(3, 6), rng.integers(6, 10)):
        turn = phase * 2 ** (interval / 12) % 1.0
        chord += bright * (2 * turn - 1) + (1 - bright) * np.sin(2 * np.pi * turn)
    struck = rng.standard_normal(length) * np.exp(
        -((rng.integers(1, 4) * rate * time) % 1.0) * rng.uniform(5, 30)
    )
    return chord * np.exp(-((rate * time) % 1.0) * rng.uniform(0, 3)) + rng.uniform(0, 1.5) * struck


def roughen_sound(
    samples: np.ndarray, rng: np.random.Generator, others: Sequence[np.ndarray], decibels: float | None
) -> np.ndarray:
    """Speech (S,) with hiss, music or other people ``decibels`` beneath it, sometimes in a room or another
    colour; with None nothing lies beneath it, and half of the time it stays as it is."""
    if decibels is None and rng.random() < 0.5:
        return np.ascontiguousarray(samples, dtype=np.float32)
    if rng.random() < 0.4:
        samples = colour(samples, rng)
    if rng.random() < 0.2:
        samples = reverberate(samples, rng)
    if decibels is not None:
        kind, length = rng.random(), len(samples)
        if kind < 0.5:
            noise = babble(others[: int(rng.integers(1, len(others) + 1))], length, rng)
        elif kind < 0.75:
            noise = music(length, rng) if rng.random() < 0.4 else tones(length, rng)
        else:
            spectrum = np.fft.rfft(rng.standard_normal(length))
            noise = np.fft.irfft(
                spectrum / np.maximum(np.arange(len(spectrum)), 20) ** rng.uniform(0, 1), length
            )
        ratio = (samples**2).mean() / ((noise**2).mean() + 1e-12)
        samples = samples + noise * np.sqrt(ratio * 10 ** (-decibels / 10))
    return np.ascontiguousarray(change_level(samples, rng), dtype=np.float32)


def augment_sound(
    samples: np.ndarray, rng: np.random.Generator, other: np.ndarray | None = None
) -> np.ndarray:
    """Some of the above, in the order in which they happen. samples (S,) to (S,) float32."""
    if rng.random() < 0.6:
        samples = colour(samples, rng)
    if rng.random() < 0.25:
        samples = reverberate(samples, rng)
    if rng.random() < 0.55:
        samples = add_noise(samples, rng, other)
    if rng.random() < 0.1:
        samples = narrow_band(samples, rng)
    return np.ascontiguousarray(change_level(samples, rng), dtype=np.float32)


ALIKE = 1e-3  # canonical units within which a vertex's reflection must meet its partner


@dataclass(frozen=True, eq=False)
class Mirror:
    """expression (E_low, E_low), identity (A, A): row vectors of coefficients times these are those of the
    mirrored face."""

    expression: Tensor
    identity: Tensor


def face_mirror(face_model: FaceModel) -> Mirror | None:
    """The mirror of a face model whose mean is symmetric, as the one learned here is; None for another."""
    mean = face_model.mean.float()
    distance, partner = torch.cdist(
        mean * mean.new_tensor([-1.0, 1.0, 1.0]), mean, compute_mode="donot_use_mm_for_euclid_dist"
    ).min(dim=1)
    if float(distance.max()) > ALIKE or not torch.equal(partner[partner], torch.arange(len(partner))):
        return None
    lower = face_model.expression_basis[: face_model.lower_count]
    return Mirror(_mirror_matrix(lower, partner), _mirror_matrix(face_model.identity_basis, partner))


def _mirror_matrix(basis: Tensor, partner: Tensor) -> Tensor:
    """(K, K) for a basis (K, V, 3): mirrored basis vectors, least squares in the basis itself."""
    flipped = basis[:, partner] * basis.new_tensor([-1.0, 1.0, 1.0])
    flat, flat_flipped = (rearrange(b.double(), "k v c -> k (v c)") for b in (basis, flipped))
    return (flat_flipped @ torch.linalg.pinv(flat)).to(basis.dtype)
