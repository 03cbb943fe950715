"""A clip that flashes white and clicks at the same moment, from every kind of file through reader, timeline
and writer and back: count, rate and duration are exact, and picture and sound stay within one frame."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
import pytest

from personatalk_core.config import LENGTH_MODES
from personatalk_core.media.audio_stream import fit_audio, read_audio
from personatalk_core.media.timing import make_timeline
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import AudioClip

SECONDS, FLASH = 2.0, 0.6  # of the clip, and share of it at which it flashes


def make(path, rate, codec, sound_codec, *, hz=48000, layout="mono", offset=0.0, times=None, options=None):
    """Write the clip. offset: seconds by which the sound starts later than the picture (earlier if below 0).
    times: of frames."""
    rate = Fraction(rate)
    starts = np.arange(round(SECONDS * rate)) * float(1 / rate) if times is None else np.array(times)
    flash = int(np.searchsorted(starts, SECONDS * FLASH))
    lead = max(0.0, -offset)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate, options={"threads": "1"} | (options or {}))
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        tick = 1 / rate if times is None else Fraction(1, 90000)
        video.codec_context.time_base = video.time_base = tick
        audio = container.add_stream(sound_codec, rate=hz)
        audio.codec_context.layout = layout
        packets = []
        for number, start in enumerate(starts):
            picture = av.VideoFrame.from_ndarray(
                np.full((48, 64, 3), 250 if number == flash else 5, np.uint8), format="rgb24"
            )
            picture.pts, picture.time_base = round((start + lead) / tick), tick
            packets += video.encode(picture)
        packets += video.encode(None)
        form, channels = audio.codec_context.format, audio.codec_context.layout.nb_channels
        samples = np.zeros((channels, round((SECONDS + lead) * hz)), np.float32)
        at = round((starts[flash] - offset) * hz)
        samples[:, at : at + hz // 1000] = 0.9
        for begin in range(0, samples.shape[1], 1024):
            block = samples[:, begin : begin + 1024]
            if "flt" not in form.name:
                block = (block * 32767).astype(np.int16)
            data = np.ascontiguousarray(block if form.is_planar else block.T.reshape(1, -1))
            frame = av.AudioFrame.from_ndarray(data, format=form.name, layout=layout)
            frame.sample_rate, frame.time_base, frame.pts = (
                hz,
                Fraction(1, hz),
                begin + round(max(0.0, offset) * hz),
            )
            packets += audio.encode(frame)
        packets += audio.encode(None)
        container.mux(sorted(packets, key=lambda p: (p.dts or 0) * p.time_base))
    return flash


def moments(path):
    """Seconds at which it flashes and clicks."""
    info = probe(path)
    light = [frame.mean() for frame in VideoReader(info).frames()]
    clip = read_audio(path)
    return (
        float(info.times[int(np.argmax(light))]),
        int(np.argmax(np.abs(clip.samples).max(0))) / clip.sample_rate,
        info,
        clip,
    )


CASES = {
    "mp4 at 23.976": ("in.mp4", Fraction(24000, 1001), "libx264", "aac", {}),
    "mp4 at 29.97, B-frames": ("in.mp4", Fraction(30000, 1001), "libx264", "aac", {"options": {"bf": "3"}}),
    "mp4 at 59.94": ("in.mp4", Fraction(60000, 1001), "libx264", "aac", {}),
    "mkv at 25, 8 kHz": ("in.mkv", 25, "libx264", "pcm_s16le", {"hz": 8000}),
    "mkv at 25, 5.1": ("in.mkv", 25, "libx264", "pcm_s16le", {"layout": "5.1"}),
    "mov at 30, sound late": ("in.mov", 30, "libx264", "pcm_s16le", {"offset": 0.3}),
    "mkv at 30, picture late": ("in.mkv", 30, "libx264", "pcm_s16le", {"offset": -0.3}),
    "ts at 25": ("in.ts", 25, "mpeg2video", "mp2", {"hz": 44100, "layout": "stereo"}),
    "webm at 30": ("in.webm", 30, "libvpx", "libopus", {}),
    "avi at 25": ("in.avi", 25, "mpeg4", "pcm_s16le", {"hz": 16000}),
    "mp4 at a varying rate": (
        "in.mp4",
        25,
        "libx264",
        "aac",
        {"times": np.cumsum([0.0, *([0.02, 0.05, 0.04, 0.1] * 9)])},
    ),
}


@pytest.mark.parametrize("name,rate,codec,sound_codec,more", CASES.values(), ids=CASES)
def test_picture_and_sound_stay_together(tmp_path, name, rate, codec, sound_codec, more):
    if {codec, sound_codec} - av.codecs_available:
        pytest.skip(f"this PyAV cannot make {codec} with {sound_codec}")
    source, out = tmp_path / name, tmp_path / "out.mp4"
    flash = make(source, rate, codec, sound_codec, **more)
    seen, heard, info, clip = moments(source)
    frame = float(np.median(info.durations))
    assert abs(seen - heard) < frame, "the reader itself"
    assert seen == pytest.approx(float(info.times[flash]), abs=1e-6)
    if "times" not in more:
        assert info.rate == rate and info.frame_count == round(SECONDS * rate)
    timeline = make_timeline(info, clip.duration, "silence")
    with VideoWriter(
        out, info.width, info.height, timeline, audio=fit_audio(clip, timeline.duration), like=info
    ) as writer:
        for picture in VideoReader(info).frames(timeline.source_frame):
            writer.write(picture)
    seen_again, heard_again, again, sound = moments(out)
    assert (again.frame_count, again.constant_rate) == (info.frame_count, info.constant_rate)
    assert again.rate == info.rate or not info.constant_rate
    assert again.duration == pytest.approx(info.duration, abs=1e-4) and sound.duration == pytest.approx(
        info.duration, abs=2e-3
    )
    assert seen_again == pytest.approx(seen, abs=1e-4) and abs(seen_again - heard_again) < frame
    assert heard_again == pytest.approx(heard, abs=0.003)


@pytest.mark.parametrize("mode", LENGTH_MODES)
@pytest.mark.parametrize("seconds", [0.9, 3.3])
def test_new_sound_of_another_length_meets_the_picture_it_is_laid_on(tmp_path, mode, seconds):
    """The picture flashes where the timeline shows the flash; a click put there in the new sound comes out
    with it."""
    source, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    make(source, Fraction(30000, 1001), "libx264", "aac")
    info = probe(source)
    flash = int(np.argmax([frame.mean() for frame in VideoReader(info).frames()]))
    timeline = make_timeline(info, seconds, mode)
    shown = np.flatnonzero(timeline.source_frame == flash)
    samples = np.zeros((1, round(seconds * 48000)), np.float32)
    moment = float(timeline.times[shown[0]]) if len(shown) else seconds / 2
    samples[0, round(moment * 48000) : round(moment * 48000) + 48] = 0.9
    audio = fit_audio(AudioClip(samples, 48000), timeline.duration)
    with VideoWriter(out, 64, 48, timeline, audio=audio, like=info) as writer:
        for picture in VideoReader(info).frames(timeline.source_frame):
            writer.write(picture)
    seen, heard, again, sound = moments(out)
    expected = {"cut_off": min(seconds, info.duration), "silence": info.duration}.get(mode, seconds)
    assert again.rate == info.rate and again.frame_count == timeline.frame_count
    assert again.duration == pytest.approx(expected, abs=float(1 / info.rate))
    assert sound.duration == pytest.approx(again.duration, abs=2e-3)
    if len(shown) and moment < seconds:
        assert abs(seen - heard) < float(1 / info.rate)
