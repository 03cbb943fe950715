import os
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.media import frame_decoder
from personatalk_core.media.video_reader import VideoReader, probe

RATES = [
    Fraction(24000, 1001),
    Fraction(25),
    Fraction(30000, 1001),
    Fraction(30),
    Fraction(50),
    Fraction(60000, 1001),
    Fraction(60),
]
B_FRAMES = {"bf": "3", "g": "10", "x264-params": "b-adapt=0"}


def numbers(path_or_info, read_number, indices=None):
    return [read_number(frame) for frame in VideoReader(path_or_info).frames(indices)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.mov"])
def test_rate_count_and_times_are_exact(make_clip, rate, name):
    info = probe(make_clip(name, 40, rate, options=B_FRAMES))
    assert (info.rate, info.constant_rate, info.frame_count) == (rate, True, 40)
    assert np.allclose(info.times, np.arange(40) / float(rate), atol=1e-9)
    assert info.duration == pytest.approx(40 / float(rate), abs=1e-9)
    assert (info.width, info.height, info.has_audio) == (96, 64, False)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_variable_rate_keeps_every_start(make_clip, name, read_number):
    starts = [0, 40, 80, 200, 220, 300, 345, 500]
    info = probe(make_clip(name, pts=starts, options=B_FRAMES))
    assert not info.constant_rate
    assert np.allclose(info.times, np.array(starts) / 1000, atol=1e-6)
    assert np.allclose(info.durations[:-1], np.diff(starts) / 1000, atol=1e-6) and info.durations[-1] > 0
    assert numbers(info, read_number) == list(range(8))


KINDS = {
    "clip.mp4": "libx264",
    "clip.mkv": "libx264",
    "clip.avi": "mpeg4",
    "clip.ts": "libx264",
    "clip.webm": "libvpx",
}


@pytest.mark.parametrize("name,codec", KINDS.items())
def test_frames_come_in_any_order(make_clip, read_number, name, codec):
    options = B_FRAMES if codec == "libx264" else {"g": "10"}
    info = probe(make_clip(name, 45, codec=codec, options=options))
    assert info.frame_count == 45
    forward = list(range(45))
    assert numbers(info, read_number) == forward
    assert numbers(info, read_number, forward[::-1]) == forward[::-1]
    mixed = [44, 0, 0, 17, 16, 15, 16, 17, 40, 3, 44, 44, 12]
    assert numbers(info, read_number, mixed) == mixed


def test_bouncing_with_room_for_few_frames(make_clip, read_number, monkeypatch):
    monkeypatch.setattr(frame_decoder, "BUDGET", 3 * 2 * 96 * 64)  # three frames
    path = make_clip(count=40, options={"g": "25", "bf": "2"})
    order = [*range(40), *range(38, 0, -1), *range(40)]
    decoder = frame_decoder.FrameDecoder(probe(path))
    held = 0
    with decoder:
        for number in order:
            decoder.get(number)
            held = max(held, len(decoder._held))
    assert held == 3
    assert numbers(path, read_number, order) == order


def test_far_frames_are_sought_and_not_decoded_through(make_clip, read_number, monkeypatch):
    path = make_clip(count=200, options={"g": "10", "bf": "2"})
    info = probe(path)
    decoded = []
    original = frame_decoder.FrameDecoder._number
    monkeypatch.setattr(
        frame_decoder.FrameDecoder,
        "_number",
        lambda self, frame, last: decoded.append(1) or original(self, frame, last),
    )
    assert numbers(info, read_number, [195]) == [195]
    assert len(decoded) < 30


def test_an_info_without_time_stamps_still_reads(make_clip, read_number):
    info = replace(probe(make_clip(count=20, options=B_FRAMES)), pts=None, keyframe=None)
    assert numbers(info, read_number, [3, 19, 2]) == [3, 19, 2]


@pytest.mark.parametrize("degrees,corner", [(0, (40, 2)), (90, (2, 23)), (180, (23, 93)), (270, (93, 40))])
def test_rotation_is_applied(make_clip, turn, degrees, corner):
    path = make_clip()
    turn(path, degrees)
    info = probe(path)
    assert (info.width, info.height) == ((96, 64) if degrees % 180 == 0 else (64, 96))
    frame = next(VideoReader(info).frames())
    assert frame.shape == (info.height, info.width, 3)
    red = frame[corner]  # the red edge, where a clockwise turn by so many degrees puts it
    assert red[0] > 170 and red[1] < 90


def test_pictures_with_odd_sizes(make_clip, read_number):
    info = probe(make_clip(size=(97, 65), pixel_format="yuv444p"))
    assert (info.width, info.height) == (97, 65)
    assert numbers(info, read_number) == list(range(12))


def test_the_first_frame_is_time_zero_whenever_the_file_starts(make_clip, read_number):
    info = probe(make_clip("clip.mkv", first=50))
    assert info.times[0] == 0 and info.frame_count == 12
    assert numbers(info, read_number, [11, 0]) == [11, 0]


def test_colours_survive(make_clip, numbered):
    for path in (
        make_clip("a.mp4", 1, options={"crf": "1"}),
        make_clip("b.mkv", 1, codec="ffv1", pixel_format="bgr0"),
    ):
        frame = next(VideoReader(path).frames())
        error = np.abs(frame.astype(int) - numbered(0))[12:, 12:]
        assert error.max() <= (4 if path.suffix == ".mp4" else 0)


def test_ten_bits_are_read_and_remarked(make_clip, read_number):
    info = probe(make_clip(pixel_format="yuv420p10le"))
    assert any("8 bits" in remark or "output has 8" in remark for remark in info.remarks)
    assert numbers(info, read_number) == list(range(12))


def test_a_truncated_file_gives_what_is_there(make_clip, read_number):
    path = make_clip("clip.mkv", 100, options={"g": "10"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    info = probe(path)
    assert 10 < info.frame_count < 100
    got = numbers(info, read_number)
    assert got[:-3] == list(range(info.frame_count - 3))


def test_a_faststart_file_that_breaks_off_is_remarked(make_clip):
    path = make_clip("clip.mp4", 100, options={"g": "10"}, container_options={"movflags": "+faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    info = probe(path)
    assert info.frame_count < 100
    assert any("breaks off" in remark for remark in info.remarks)


def test_broken_frames_repeat_the_one_before(make_clip, read_number):
    path = make_clip("clip.mkv", 60, codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data)) if data[i : i + 3] == b"\xff\xd8\xff"]
    data[starts[30] : starts[31] - 64] = bytes(starts[31] - 64 - starts[30])
    path.write_bytes(bytes(data))
    reader = VideoReader(path)
    got = [read_number(frame) for frame in reader.frames()]
    assert len(got) == 60
    assert got[30] == 29 and reader.damaged == {30}
    assert got[:30] == list(range(30)) and got[31:] == list(range(31, 60))


def test_refusals(tmp_path, make_clip):
    with pytest.raises(MediaError, match="does not exist"):
        probe(tmp_path / "nothing.mp4")
    with pytest.raises(MediaError, match="is a folder"):
        probe(tmp_path)
    for name in ("x" * 300, "x" * 300 + "/%d.png", "a\0b", "\udce4.mp4"):
        with pytest.raises(MediaError):
            probe(tmp_path / name)
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    with pytest.raises(MediaError, match="empty"):
        probe(empty)
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no video at all" * 100)
    with pytest.raises(MediaError, match="cannot be read"):
        probe(junk)
    with pytest.raises(MediaError, match="frames 0 to 11"):
        list(VideoReader(make_clip()).frames([12]))


def test_sound_alone_has_no_video_stream(tmp_path):
    import wave

    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(32000))
    with pytest.raises(MediaError, match="no video stream"):
        probe(path)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_file_that_may_not_be_read(make_clip):
    path = make_clip()
    path.chmod(0)
    with pytest.raises(MediaError, match="permission"):
        probe(path)


def test_the_real_looking_sample(sample_video):
    info = probe(sample_video)
    assert (info.width, info.height, info.frame_count) == (350, 350, 56)
    forward = [frame.mean() for frame in VideoReader(info).frames()]
    backward = [frame.mean() for frame in VideoReader(info).frames(range(55, -1, -1))]
    assert forward == backward[::-1]


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_rotation_is_applied_where_pyav_chokes_on_other_side_data(make_clip, turn, degrees):
    """PyAV raises for the whole side data of a frame when it does not know one kind of it."""
    from personatalk_core.media.colour import Orientation
    from personatalk_core.media.frame_decoder import first_frame

    path = make_clip()
    turn(path, degrees)
    frame, _ = first_frame(path)

    class Choking:
        rotation = frame.rotation

        @property
        def side_data(self):
            raise ValueError("31 is not a valid Type")

    assert Orientation.of_frame(Choking()) == Orientation.of_frame(frame)


def test_no_decoded_frame_lives_on_as_garbage(make_clip):
    """Memory must not depend on when Python collects cycles: a frame of 4K video is 12 MB."""
    import gc

    gc.collect()
    gc.disable()
    try:
        count = sum(1 for _ in VideoReader(make_clip(count=40)).frames())
        alive = sum(type(item) is av.VideoFrame for item in gc.get_objects())
    finally:
        gc.enable()
    assert count == 40 and alive <= 4
