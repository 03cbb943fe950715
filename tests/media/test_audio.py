import wave

import av
import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.media.audio_stream import fit_audio, read_audio, resampled, speech_samples
from personatalk_core.types import AudioClip


def write_wav(path, samples, rate):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(samples.shape[0])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.T * 32768).round().astype("<i2").tobytes())
    return path


def tone(seconds, rate, channels=1, frequency=440):
    return np.repeat(
        (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * frequency / rate) * 0.5)[None], channels, 0
    ).astype(np.float32)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_wav_comes_back_sample_by_sample(tmp_path, rate, channels):
    samples = np.round(tone(0.3, rate, channels) * 32768) / 32768
    clip = read_audio(write_wav(tmp_path / "a.wav", samples, rate))
    assert (clip.sample_rate, clip.start) == (rate, 0.0)
    assert np.array_equal(clip.samples, samples.astype(np.float32))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 2, 6, 8])
def test_speech_is_one_channel_at_16_khz_with_the_same_tone(rate, channels):
    speech = speech_samples(AudioClip(tone(1.0, rate, channels), rate))
    assert speech.dtype == np.float32 and speech.shape == (16000,)
    expected = tone(1.0, 16000)[0]
    assert np.abs(speech - expected)[400:-400].max() < 0.01


def test_the_bass_channel_is_not_speech():
    samples = np.zeros((6, 16000), np.float32)
    samples[3] = 0.9
    assert not speech_samples(AudioClip(samples, 16000)).any()


def test_fit_cuts_and_pads_to_the_sample():
    clip = AudioClip(tone(1.0, 44100, 2), 44100)
    longer, shorter = fit_audio(clip, 1.5), fit_audio(clip, 0.25)
    assert longer.samples.shape == (2, 66150) and not longer.samples[:, 44100:].any()
    assert np.array_equal(longer.samples[:, :44100], clip.samples)
    assert np.array_equal(shorter.samples, clip.samples[:, :11025])
    assert fit_audio(clip, 0.0).samples.shape == (2, 0)


def test_fit_honours_the_start():
    clip = AudioClip(tone(1.0, 1000), 1000, start=0.2)
    assert (
        np.array_equal(fit_audio(clip, 1.2).samples[0, 200:], clip.samples[0])
        and not fit_audio(clip, 1.2).samples[0, :200].any()
    )
    early = AudioClip(clip.samples, 1000, start=-0.2)
    assert np.array_equal(fit_audio(early, 0.8).samples, clip.samples[:, 200:])
    assert fit_audio(AudioClip(clip.samples, 1000, start=5.0), 1.0).samples.shape == (1, 1000)


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mov"])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_sound_that_starts_late_in_a_video(make_clip, name, start):
    path = make_clip(name, 50, tone=(48000, 2, 1.0, start))
    raw, aligned = read_audio(path, aligned=False), read_audio(path)
    assert raw.start == pytest.approx(start, abs=0.002)
    assert aligned.start == 0 and aligned.duration == pytest.approx(1.0 + start, abs=0.003)
    loud = np.flatnonzero(np.abs(aligned.samples[0]) > 0.05)[0] / 48000
    assert loud == pytest.approx(start, abs=0.003)


def test_a_video_that_starts_late_cuts_its_early_sound(make_clip):
    path = make_clip("clip.mkv", 25, first=10, tone=(48000, 1, 1.4, 0.0))
    assert read_audio(path, aligned=False).start == pytest.approx(-0.4, abs=0.002)
    assert read_audio(path).duration == pytest.approx(1.0, abs=0.003)


def test_aac_in_a_video_is_not_delayed(make_clip):
    clip = read_audio(make_clip(count=50, tone=(44100, 2, 1.5, 0.0)))
    expected = (np.sin(np.arange(int(1.5 * 44100)) * 2 * np.pi * 440 / 44100) * 8000 / 32768).astype(
        np.float32
    )
    middle = slice(5000, 50000)
    errors = {
        lag: np.abs(clip.samples[0, 5000 + lag : 50000 + lag] - expected[middle]).mean()
        for lag in range(-30, 31)
    }
    assert min(errors, key=errors.get) == 0
    assert clip.duration == pytest.approx(1.5, abs=1 / 44100)


def test_surround_sound(make_clip):
    clip = read_audio(make_clip("clip.mkv", 25, tone=(48000, 6, 1.0, 0.0)))
    assert clip.samples.shape == (6, 48000)


def test_a_hole_in_the_sound_is_silence(tmp_path):
    path = tmp_path / "hole.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000)
        stream.codec_context.layout = "mono"
        for begin in (0, 8000, 24000):  # 0.5 s, 0.5 s, nothing for 0.5 s, 0.5 s
            block = np.full((1, 8000), 9000, np.int16)
            frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16000, begin
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    samples = read_audio(path).samples[0]
    assert len(samples) == pytest.approx(32000, abs=32)
    assert (
        not samples[16200:23800].any()
        and (samples[24200:31800] > 0.2).all()
        and (samples[:15800] > 0.2).all()
    )


def test_resampling_keeps_every_channel():
    out = resampled(AudioClip(np.concatenate([tone(0.5, 8000), tone(0.5, 8000, 1, 880)]), 8000), 16000)
    assert out.samples.shape == (2, 8000)
    assert (
        np.abs(out.samples - np.concatenate([tone(0.5, 16000), tone(0.5, 16000, 1, 880)]))[:, 200:-200].max()
        < 0.01
    )


def test_refusals(tmp_path, make_clip):
    with pytest.raises(MediaError, match="no audio stream"):
        read_audio(make_clip())
    with pytest.raises(MediaError, match="does not exist"):
        read_audio(tmp_path / "nothing.wav")
    with pytest.raises(MediaError, match="without a single sample|cannot be read"):
        read_audio(write_wav(tmp_path / "empty.wav", np.zeros((1, 0)), 16000))
    (tmp_path / "junk.wav").write_bytes(b"no sound at all" * 50)
    with pytest.raises(MediaError, match="cannot be read"):
        read_audio(tmp_path / "junk.wav")
