import os
import resource
import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from personatalk_core.errors import MediaError, ShapeError
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.timing import make_timeline, rate_times
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.media.video_writer import MaskWriter, VideoWriter
from personatalk_core.types import AudioClip, Timeline

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50), Fraction(60)]

PADDED = 1024 / 44100  # Matroska does not say where the last block of AAC ends


def steady(rate, count):
    return Timeline(
        np.arange(count), rate_times(Fraction(rate), count), np.full(count, float(1 / Fraction(rate)))
    )


def sound(seconds, rate=44100, channels=2):
    wave = np.sin(np.arange(round(seconds * rate)) * 2 * np.pi * 330 / rate) * 0.4
    return AudioClip(np.repeat(wave[None], channels, 0).astype(np.float32), rate)


def write(path, timeline, numbered, *, size=(96, 64), **choices):
    with VideoWriter(path, *size, timeline, **choices) as writer:
        for number in range(timeline.frame_count):
            writer.write(numbered(number, *size))
    return path


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_rate_count_and_duration_come_back(tmp_path, numbered, read_number, rate, suffix):
    line = steady(rate, 31)
    path = write(tmp_path / f"out{suffix}", line, numbered, audio=sound(0.7))
    info = probe(path)
    assert (info.rate, info.frame_count, info.constant_rate) == (rate, 31, True)
    assert info.duration == pytest.approx(line.duration, abs=1e-9)
    assert [read_number(f) for f in VideoReader(info).frames()] == list(range(31))
    assert read_audio(path).duration == pytest.approx(
        line.duration, abs=PADDED if suffix == ".mkv" else 1 / 44100
    )
    assert leftovers(tmp_path) == [path.name]


def test_a_variable_rate_is_written_as_it_is(tmp_path, numbered, read_number):
    durations = np.array([0.04, 0.10, 0.02, 0.04, 0.20, 0.05])
    line = Timeline(np.arange(6), np.concatenate([[0], np.cumsum(durations)[:-1]]), durations)
    info = probe(write(tmp_path / "out.mp4", line, numbered))
    assert np.allclose(info.times, line.times, atol=1e-5)
    # older FFmpegs guess the last duration
    known = slice(None) if int(av.__version__.split(".")[0]) >= 16 else slice(-1)
    assert np.allclose(info.durations[known], line.durations[known], atol=1e-5)
    assert [read_number(f) for f in VideoReader(info).frames()] == list(range(6))


@pytest.mark.parametrize("size", [(96, 64), (97, 64), (96, 65), (97, 65)])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("lossless", [False, True])
def test_the_size_is_unchanged(tmp_path, numbered, size, suffix, lossless):
    path = write(
        tmp_path / f"out{suffix}", steady(25, 5), numbered, size=size, lossless=lossless, audio=sound(0.2)
    )
    info = probe(path)
    assert (info.width, info.height) == size
    for number, frame in enumerate(VideoReader(info).frames()):
        error = np.abs(frame.astype(int) - numbered(number, *size))
        assert error.max() == 0 if lossless else error[12:, 12:].max() <= 10
    assert read_audio(path).duration == pytest.approx(0.2, abs=PADDED if suffix == ".mkv" else 0.002)


def test_what_browsers_play(tmp_path, numbered):
    path = write(tmp_path / "out.mp4", steady(25, 10), numbered, audio=sound(0.4))
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.pix_fmt, audio.codec_context.name) == (
            "h264",
            "yuv420p",
            "aac",
        )
        context = video.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (
            1,
            1,
            1,
            1,
        )
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_lossless_sound_is_exact(tmp_path, numbered):
    clip = AudioClip(np.round(sound(0.4).samples * 32768) / np.float32(32768), 44100)
    for suffix in (".mp4", ".mov", ".mkv"):
        path = write(tmp_path / f"out{suffix}", steady(25, 10), numbered, audio=clip, lossless=True)
        assert np.array_equal(read_audio(path).samples, clip.samples)


@pytest.mark.parametrize(
    "rate,channels",
    [(8000, 1), (11025, 1), (16000, 1), (22050, 2), (44099, 1), (48000, 6), (96000, 2), (192000, 1)],
)
def test_any_sound_is_written(tmp_path, numbered, rate, channels):
    path = write(tmp_path / "out.mp4", steady(25, 25), numbered, audio=sound(1.0, rate, channels))
    clip = read_audio(path)
    assert clip.samples.shape[0] == channels
    assert clip.duration == pytest.approx(1.0, abs=2 / clip.sample_rate)
    assert 0.2 < np.abs(clip.samples[0]).mean() < 0.3


@pytest.mark.parametrize("mode", ["cut_off", "bounce", "loop", "remap", "silence"])
@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(25), Fraction(60)])
@pytest.mark.parametrize("seconds", [0.6, 2.1])
def test_click_and_flash_stay_together(tmp_path, mode, rate, seconds):
    """A white frame and a click at the same moment come back within one frame of each other."""
    count = round(1.2 * rate)
    line = make_timeline(steady(rate, count), seconds, mode)
    flash = line.frame_count // 2
    moment = float(line.times[flash])
    samples = np.zeros((1, round(seconds * 48000)), np.float32)
    if round(moment * 48000) + 48 > samples.shape[1]:
        flash = int(np.searchsorted(line.times, seconds / 2))
        moment = float(line.times[flash])
    samples[0, round(moment * 48000) : round(moment * 48000) + 48] = 0.9
    path = tmp_path / "out.mp4"
    with VideoWriter(path, 64, 48, line, AudioClip(samples, 48000)) as writer:
        for number in range(line.frame_count):
            writer.write(np.full((48, 64, 3), 250 if number == flash else 5, np.uint8))
    info = probe(path)
    seen = info.times[int(np.argmax([f.mean() for f in VideoReader(info).frames()]))]
    clip = read_audio(path)
    heard = int(np.argmax(np.abs(clip.samples[0]))) / clip.sample_rate
    assert abs(seen - heard) < float(1 / rate)
    assert abs(seen - heard) < 0.005
    assert clip.duration == pytest.approx(line.duration, abs=0.001)
    assert info.frame_count == line.frame_count


def test_sound_that_starts_off_the_clock_is_moved(tmp_path, numbered):
    clip = AudioClip(np.ones((1, 4800), np.float32) * 0.5, 48000, start=0.2)
    samples = read_audio(
        write(tmp_path / "out.mov", steady(25, 10), numbered, audio=clip, lossless=True)
    ).samples[0]
    assert not samples[:9600].any() and (samples[9600:14400] == 0.5).all() and not samples[14400:].any()


def test_the_same_frames_give_the_same_bytes(tmp_path, numbered):
    for suffix in (".mp4", ".mov", ".mkv"):
        files = [
            write(tmp_path / f"{name}{suffix}", steady(25, 12), numbered, audio=sound(0.5)).read_bytes()
            for name in "ab"
        ]
        assert files[0] == files[1]


def test_sizes_of_no_whole_blocks_give_the_same_bytes_too(tmp_path):
    """x264's macroblock-tree reads what memory holds by chance there; with it about every second file
    differed."""
    small = np.random.default_rng(0).random((9, 11, 3)).astype(np.float32)
    picture = (cv2.resize(small, (360, 288), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255).astype(np.uint8)
    found = set()
    for _ in range(12):
        with VideoWriter(tmp_path / "out.mp4", 360, 288, steady(25, 10), sound(0.4)) as writer:
            for number in range(10):
                writer.write(np.roll(picture, 2 * number, 1))
        found.add((tmp_path / "out.mp4").read_bytes())
    assert len(found) == 1


def test_masks_are_grey(tmp_path):
    mask = np.zeros((64, 96), np.float32)
    mask[20:40, 30:60] = 1.0
    with MaskWriter(tmp_path / "mask.mp4", 96, 64, steady(25, 3)) as writer:
        for _ in range(3):
            writer.write(mask)
    frame = next(VideoReader(tmp_path / "mask.mp4").frames())
    assert frame[25:35, 35:55].min() > 245 and frame[:10].max() < 10
    assert np.ptp(frame.astype(int), axis=2).max() <= 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(tmp_path, numbered, error):
    path = tmp_path / "out.mp4"
    path.write_bytes(b"an older file")
    with pytest.raises(error), VideoWriter(path, 96, 64, steady(25, 10), sound(0.4)) as writer:
        writer.write(numbered(0))
        raise error("stop")
    assert leftovers(tmp_path) == ["out.mp4"]
    assert path.read_bytes() == b"an older file"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_in_the_middle_leaves_nothing(tmp_path):
    script = textwrap.dedent(f"""
        import signal, sys, time
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent in the background may ignore it
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import numpy as np
        from personatalk_core.media.video_writer import VideoWriter
        from personatalk_core.types import Timeline
        times = np.arange(100000) / 25
        with VideoWriter({str(tmp_path / "out.mp4")!r}, 64, 64, Timeline(np.arange(100000), times,
            np.full(100000, 0.04))) as writer:
            for _ in range(100000):
                writer.write(np.zeros((64, 64, 3), np.uint8))
                print("frame", flush=True)
                time.sleep(0.002)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(20):
        process.stdout.readline()
    assert any(name.startswith(".out.") for name in leftovers(tmp_path))
    process.send_signal(2)
    process.stdout.read()
    process.wait(timeout=30)
    assert leftovers(tmp_path) == []


def test_a_wrong_number_of_frames_is_refused(tmp_path, numbered):
    few = "was given 2 frames but its timeline has 3"
    with (
        pytest.raises(MediaError, match=few),
        VideoWriter(tmp_path / "a.mp4", 96, 64, steady(25, 3)) as writer,
    ):
        writer.write(numbered(0))
        writer.write(numbered(1))
    with (
        pytest.raises(MediaError, match="too many"),
        VideoWriter(tmp_path / "a.mp4", 96, 64, steady(25, 1)) as writer,
    ):
        writer.write(numbered(0))
        writer.write(numbered(1))
    assert leftovers(tmp_path) == []


def test_wrong_frames_are_refused(tmp_path, numbered):
    with pytest.raises(ShapeError), VideoWriter(tmp_path / "a.mp4", 96, 64, steady(25, 1)) as writer:
        writer.write(numbered(0, 98, 64))
    with (
        pytest.raises(ShapeError, match="uint8"),
        VideoWriter(tmp_path / "a.mp4", 96, 64, steady(25, 1)) as writer,
    ):
        writer.write(numbered(0).astype(np.float32))
    assert leftovers(tmp_path) == []


def test_unwritable_places_are_refused(tmp_path, numbered):
    with pytest.raises(MediaError, match="expected one of .mp4"):
        VideoWriter(tmp_path / "out.gif", 96, 64, steady(25, 1))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match="cannot be written"):
        write(tmp_path / "file" / "out.mp4", steady(25, 1), numbered)
    with pytest.raises(MediaError, match="timeline is empty"):
        VideoWriter(tmp_path / "out.mp4", 96, 64, Timeline(np.zeros(0, int), np.zeros(0), np.zeros(0)))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit here")
def test_a_full_disk_is_one_sentence_and_no_file(tmp_path):
    script = textwrap.dedent(f"""
        import resource, signal, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import numpy as np
        from personatalk_core.errors import MediaError
        from personatalk_core.media.video_writer import VideoWriter
        from personatalk_core.types import Timeline
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        rng = np.random.default_rng(0)
        times = np.arange(60) / 25
        try:
            line = Timeline(np.arange(60), times, np.full(60, 0.04))
            with VideoWriter({str(tmp_path / "out.mp4")!r}, 320, 240, line, lossless=True) as writer:
                for _ in range(60):
                    writer.write(rng.integers(0, 255, (240, 320, 3), dtype=np.uint8))
        except MediaError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert "cannot be written" in done.stdout and "free space" in done.stdout, done.stderr
    assert leftovers(tmp_path) == []


def test_writing_holds_no_frames(tmp_path):
    """Peak memory does not grow with the length: holding the frames would take 180 MB more."""
    script = textwrap.dedent(f"""
        import resource, sys
        sys.path.insert(0, {str(Path(__file__).parents[2])!r})
        import numpy as np
        from personatalk_core.media.video_reader import VideoReader
        from personatalk_core.media.video_writer import VideoWriter
        from personatalk_core.types import Timeline
        def go(count):
            path = {str(tmp_path / "long.mp4")!r}
            with VideoWriter(path, 320, 240, Timeline(np.arange(count), np.arange(count) / 25, np.full(count,
                0.04))) as writer:
                for i in range(count):
                    writer.write(np.full((240, 320, 3), i % 250, np.uint8))
            for _ in VideoReader(path).frames(): pass
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        short = go(300)
        print(short, go(1100))
    """)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    short, long = (int(v) for v in done.stdout.split())
    assert long < short + 80_000
