"""Arrays to files and back without loss."""

from fractions import Fraction

import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.media.array_files import read_frames, write_frames, write_sound
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.video_reader import probe
from personatalk_core.types import AudioClip


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_frames_come_back_bit_for_bit(tmp_path, size):
    frames = np.random.default_rng(0).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    path = write_frames(tmp_path / "a.mp4", frames, 5, Fraction(30000, 1001))
    back, rate = read_frames(path)
    assert rate == Fraction(30000, 1001) and probe(path).frame_count == 5
    assert np.array_equal(np.rint(back * 255).astype(np.uint8), frames)


def test_floats_are_rounded_and_clipped(tmp_path):
    frames = np.full((2, 16, 16, 3), 1.7, np.float32)
    frames[1] = 0.5
    back, _ = read_frames(write_frames(tmp_path / "a.mp4", frames, 2, Fraction(10)))
    assert back[0].min() == 1.0 and np.rint(back[1] * 255).min() == np.rint(0.5 * 255)


def test_the_same_frames_give_the_same_file(tmp_path):
    frames = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    files = [write_frames(tmp_path / f"{name}.mp4", frames, 4, Fraction(25)) for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("count", "rate"), [(0, Fraction(25)), (3, Fraction(0))])
def test_nothing_to_write_is_refused(tmp_path, count, rate):
    with pytest.raises(MediaError):
        write_frames(tmp_path / "a.mp4", np.zeros((count, 8, 8, 3), np.uint8), count, rate)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("channels", "rate"), [(1, 16000), (2, 44100)])
def test_sound_comes_back_sample_for_sample(tmp_path, channels, rate):
    samples = np.random.default_rng(2).uniform(-1, 1, (channels, 5000)).astype(np.float32)
    back = read_audio(write_sound(tmp_path / "a.wav", AudioClip(samples, rate)))
    assert back.sample_rate == rate and np.array_equal(back.samples, samples)


def test_silence_without_samples_is_refused(tmp_path):
    with pytest.raises(MediaError):
        write_sound(tmp_path / "a.wav", AudioClip(np.zeros((1, 0), np.float32), 16000))
