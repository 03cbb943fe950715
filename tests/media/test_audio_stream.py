"""Sound in blocks is the sound as a whole, sample by sample."""

from __future__ import annotations

import itertools
from math import gcd

import numpy as np
import pytest
from scipy.signal import resample_poly

from personatalk_core.media.array_files import write_sound
from personatalk_core.media.audio_stream import (
    AudioStream,
    fitted_blocks,
    read_audio,
    resampled_blocks,
    speech_samples,
    write_speech,
)
from personatalk_core.types import AudioClip

NOISE = np.random.default_rng(0).standard_normal((2, 150_001)).astype(np.float32)


@pytest.mark.parametrize(
    "rate, wanted",
    [
        (44_100, 16_000),
        (48_000, 16_000),
        (8_000, 16_000),
        (22_050, 16_000),
        (96_000, 48_000),
        (16_000, 12_345),
    ],
)
def test_resampled_in_blocks_is_resampled_at_once(rate, wanted):
    cuts = [0, 1, 5, 1000, 70_000, 70_001, 150_001]
    blocks = [NOISE[:, a:b] for a, b in itertools.pairwise(cuts)]
    divisor = gcd(rate, wanted)
    whole = resample_poly(NOISE, wanted // divisor, rate // divisor, axis=1)
    assert np.array_equal(np.concatenate(list(resampled_blocks(blocks, rate, wanted)), axis=1), whole)


def test_a_speech_file_holds_what_the_speech_stages_hear(tmp_path):
    path = write_sound(tmp_path / "a.wav", AudioClip(0.1 * NOISE, 44_100))
    speech, whole = write_speech(AudioStream(path), tmp_path / "speech.f32"), speech_samples(read_audio(path))
    assert speech.duration == pytest.approx(150_001 / 44_100) and len(speech) == len(whole)
    assert np.array_equal(speech[:], whole)
    assert np.array_equal(speech[100:1000], whole[100:1000])
    assert len(speech[len(whole) - 5 : len(whole) + 100]) == 5


def test_blocks_are_cut_and_padded_to_a_length():
    blocks = [NOISE[:, :10], NOISE[:, 10:25]]
    assert np.array_equal(np.concatenate(list(fitted_blocks(blocks, 2, 12)), axis=1), NOISE[:, :12])
    padded = np.concatenate(list(fitted_blocks(blocks, 2, 200_000)), axis=1)
    assert (
        padded.shape == (2, 200_000)
        and np.array_equal(padded[:, :25], NOISE[:, :25])
        and not padded[:, 25:].any()
    )
