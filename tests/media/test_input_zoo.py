"""What arrives from phones, browsers, broadcasters and other programs."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.timing import make_timeline
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.media.video_writer import VideoWriter

OLD_PYAV = int(av.__version__.split(".")[0]) < 17
needs_new_pyav = pytest.mark.skipif(OLD_PYAV, reason="this PyAV cannot make the clip")


def numbers(info, read_number, indices=None):
    return [read_number(frame) for frame in VideoReader(info).frames(indices)]


FORMATS = [
    ("clip.mp4", "libx264", "yuv420p"),
    ("clip.mp4", "libx265", "yuv420p"),
    ("clip.mp4", "mpeg4", "yuv420p"),
    ("clip.m4v", "libx264", "yuv420p"),
    ("clip.mov", "prores_ks", "yuv422p10le"),
    ("clip.mov", "prores_ks", "yuva444p10le"),
    ("clip.mov", "libx264", "yuv422p"),
    ("clip.mov", "mjpeg", "yuvj420p"),
    ("clip.mov", "qtrle", "rgb24"),
    ("clip.mkv", "libx264", "yuv444p"),
    ("clip.mkv", "ffv1", "yuv420p"),
    ("clip.mkv", "libx264rgb", "rgb24"),
    ("clip.mkv", "libsvtav1", "yuv420p"),
    ("clip.webm", "libvpx", "yuv420p"),
    ("clip.webm", "libvpx-vp9", "yuv420p"),
    ("clip.avi", "mpeg4", "yuv420p"),
    ("clip.avi", "mjpeg", "yuvj420p"),
    ("clip.ts", "libx264", "yuv420p"),
    ("clip.ts", "mpeg2video", "yuv420p"),
    ("clip.mpg", "mpeg2video", "yuv420p"),
    ("clip.flv", "libx264", "yuv420p"),
    ("clip.gif", "gif", "rgb8"),
]


@pytest.mark.parametrize("name,codec,pixel_format", FORMATS)
def test_every_format_gives_every_frame_in_any_order(make_clip, read_number, name, codec, pixel_format):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV has no {codec} encoder to make the clip with")
    info = probe(make_clip(name, 30, 25, codec=codec, pixel_format=pixel_format))
    assert info.frame_count == 30
    if not name.endswith(
        ".mpg"
    ):  # there FFmpeg guesses the time of frames that a packet of the stream begins in
        assert info.rate == 25 and info.constant_rate
        assert info.duration == pytest.approx(1.2, abs=1e-6)
    order = [*range(30), *range(28, -1, -1), 15, 3, 29]
    assert numbers(info, read_number, order) == order


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.ts", "clip.webm", "clip.avi"])
def test_broadcast_rates_in_every_container(make_clip, name, rate):
    codec = {"clip.webm": "libvpx", "clip.avi": "mpeg4"}.get(name, "libx264")
    info = probe(make_clip(name, 90, rate, codec=codec))
    assert (info.rate, info.frame_count) == (rate, 90)


def test_open_groups_of_pictures_and_b_frames(make_clip, read_number):
    options = {"bf": "4", "g": "12", "x264-params": "open-gop=1:b-adapt=0:b-pyramid=normal"}
    info = probe(make_clip(count=80, options=options))
    order = [79, 60, 61, 24, 23, 22, 12, 11, 10, 0, 40]
    assert numbers(info, read_number, order) == order


@needs_new_pyav
def test_an_edit_list_hides_the_first_frames(make_clip, tmp_path, read_number):
    """Cut without re-encoding: decoding must begin before the cut, but the frames before it are not shown."""
    source = make_clip(count=50, options={"g": "25", "bf": "2"})
    cut = tmp_path / "cut.mp4"
    with av.open(str(source)) as read, av.open(str(cut), "w", options={"use_editlist": "1"}) as out:
        video = read.streams.video[0]
        copy = out.add_stream_from_template(video)
        for packet in read.demux(video):
            if packet.dts is None:
                continue
            packet.pts -= 10 * round(1 / 25 / video.time_base)
            packet.dts -= 10 * round(1 / 25 / video.time_base)
            packet.stream = copy
            out.mux(packet)
    info = probe(cut)
    shown = numbers(info, read_number)
    assert info.frame_count == len(shown) and shown == list(range(50 - info.frame_count, 50))
    assert info.times[0] == 0
    assert numbers(info, read_number, range(info.frame_count - 1, -1, -1)) == shown[::-1]


def test_anamorphic_pixels_are_kept(tmp_path, numbered):
    path = tmp_path / "wide.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        for i in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(i), format="rgb24")))
        container.mux(stream.encode(None))
    info = probe(path)
    assert info.pixel_aspect == Fraction(4, 3) and (info.width, info.height) == (96, 64)
    out = tmp_path / "out.mp4"
    with VideoWriter(out, 96, 64, make_timeline(info, 1.0, "silence"), like=info) as writer:
        for frame in VideoReader(info).frames():
            writer.write(frame)
    assert probe(out).pixel_aspect == Fraction(4, 3)


@pytest.mark.parametrize("transfer,name", [(18, "HLG"), (16, "PQ")])
def test_high_dynamic_range_keeps_its_tone(tmp_path, numbered, transfer, name):
    path = tmp_path / "hdr.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = (
            9,
            transfer,
            9,
            1,
        )
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(numbered(i), format="rgb24")
            container.mux(
                stream.encode(frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1))
            )
        container.mux(stream.encode(None))
    info = probe(path)
    assert info.colour == (9, transfer, 9)
    assert any(name in remark and "tone is kept" in remark for remark in info.remarks)
    frames = list(VideoReader(info).frames())
    assert np.abs(frames[0].astype(int) - numbered(0))[12:, 12:].max() <= 6
    out = tmp_path / "out.mp4"
    with VideoWriter(out, 96, 64, make_timeline(info, 1.0, "silence"), like=info) as writer:
        for frame in frames:
            writer.write(frame)
    again = probe(out)
    assert again.colour == (9, transfer, 9)
    assert np.abs(next(VideoReader(again).frames()).astype(int) - frames[0])[12:, 12:].max() <= 8


@needs_new_pyav
@pytest.mark.parametrize("matrix,value_range", [(1, 1), (1, 2), (6, 1), (6, 2), (9, 1)])
def test_stated_colours_are_believed(tmp_path, numbered, matrix, value_range):
    if matrix == 9 and int(av.__version__.split(".")[0]) < 18:
        pytest.skip("this PyAV cannot make the clip")
    path = tmp_path / "tagged.mp4"
    swscale = {1: 1, 6: 5, 9: 9}[matrix]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = matrix, value_range
        frame = av.VideoFrame.from_ndarray(numbered(5), format="rgb24")
        container.mux(
            stream.encode(
                frame.reformat(format="yuv444p", dst_colorspace=swscale, dst_color_range=value_range)
            )
        )
        container.mux(stream.encode(None))
    # a wrong matrix misses by 9 and more
    assert np.abs(next(VideoReader(path).frames()).astype(int) - numbered(5)).max() <= 5


def test_interlaced_frames_are_kept_and_remarked(make_clip, read_number):
    info = probe(make_clip("clip.ts", codec="mpeg2video", options={"flags": "+ildct+ilme", "top": "1"}))
    assert info.frame_count == 12 and numbers(info, read_number) == list(range(12))


@pytest.mark.parametrize("top", ["tff", "bff"])
def test_interlaced_video_says_so_and_keeps_every_frame(make_clip, read_number, top):
    info = probe(make_clip("clip.mp4", options={"x264-params": f"{top}=1"}))
    assert any("interlaced" in remark for remark in info.remarks)
    assert info.rate == 25 and numbers(info, read_number) == list(range(12))


def grown(folder, numbered, size) -> Path:
    """A stream whose ten frames of 96 x 64 are followed by ten of another size."""
    path = folder / "grows.ts"
    with path.open("wb") as joined:
        for width, height in ((96, 64), size):
            part = folder / "part.ts"
            with av.open(str(part), "w") as container:
                stream = container.add_stream("libx264", rate=25, options={"bf": "0"})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                for i in range(10):
                    frame = av.VideoFrame.from_ndarray(numbered(i, width, height), format="rgb24")
                    frame.pts, frame.time_base = i + (10 if width > 96 else 0), Fraction(1, 25)
                    container.mux(stream.encode(frame))
                container.mux(stream.encode(None))
            joined.write(part.read_bytes())
    return path


def test_a_stream_that_grows_into_a_bomb_is_not_decoded(tmp_path, numbered, monkeypatch):
    """The second half is larger than any frame that is read; what was read before it stands in."""
    from personatalk_core.media import frame_index

    monkeypatch.setattr(frame_index, "MAX_PIXELS", 128 * 96)
    path = grown(tmp_path, numbered, (640, 480))
    reader = VideoReader(path)
    frames = list(reader.frames())
    assert {frame.shape for frame in frames} == {(64, 96, 3)} and reader.damaged >= set(
        range(10, len(frames))
    )


def test_time_stamps_of_years_are_refused(make_clip):
    with pytest.raises(MediaError, match="lasts"):
        probe(make_clip("clip.mkv", 3, pts=[0, 40, 10**12]))


def test_sound_of_impossible_rates_is_refused(tmp_path):
    from struct import pack

    for rate in (1, 999, 2_000_000, 4_294_967_291):
        header = pack(
            "<4sI4s4sIHHIIHH4sI",
            b"RIFF",
            36 + 400,
            b"WAVE",
            b"fmt ",
            16,
            1,
            1,
            rate,
            rate * 2 & 0xFFFFFFFF,
            2,
            16,
            b"data",
            400,
        )
        path = tmp_path / "odd.wav"
        path.write_bytes(header + bytes(400))
        with pytest.raises(MediaError):
            read_audio(path)


def test_holes_that_add_up_to_days_are_refused(tmp_path, monkeypatch):
    """Each hole alone is believed; together they would unfold a few kilobytes into silence without end."""
    from personatalk_core import checks

    monkeypatch.setattr(checks, "MAX_SECONDS", 600.0)
    path = tmp_path / "holes.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.codec_context.layout = "mono"
        for number in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 80), np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), number * 8000 * 100
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match="at most 600 s"):
        read_audio(path)


def test_no_sound_makes_a_timeline_of_billions(make_clip):
    with pytest.raises(MediaError, match="frames but at most"):
        make_timeline(probe(make_clip("clip.mkv", 2, pts=[0, 1])), 86_000.0, "loop")


def test_transparency_is_dropped_and_remarked(tmp_path, numbered):
    path = tmp_path / "clear.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("qtrle", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "argb"
        picture = np.concatenate([np.full((64, 96, 1), 128, np.uint8), numbered(3)], axis=2)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="argb")))
        container.mux(stream.encode(None))
    info = probe(path)
    assert any("transparency" in remark for remark in info.remarks)
    assert next(VideoReader(info).frames()).shape == (64, 96, 3)


@needs_new_pyav
def test_a_cover_picture_is_not_the_video(make_clip, tmp_path, numbered, read_number):
    source, path = make_clip(), tmp_path / "cover.mp4"
    with av.open(str(source)) as read, av.open(str(path), "w") as out:
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        copy = out.add_stream_from_template(read.streams.video[0])
        out.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(cover.encode(None))
        for packet in read.demux(read.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    info = probe(path)
    assert (info.width, info.height) == (96, 64)
    assert numbers(info, read_number) == list(range(12))


def test_the_first_of_several_sound_tracks_is_heard(tmp_path):
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        tracks = [container.add_stream("pcm_s16le", rate=8000) for _ in range(2)]
        for track in tracks:
            track.codec_context.layout = "mono"
        for level, track in zip((8000, 16000), tracks, strict=True):
            frame = av.AudioFrame.from_ndarray(
                np.full((1, 4000), level, np.int16), format="s16", layout="mono"
            )
            frame.sample_rate, frame.pts = 8000, 0
            container.mux(track.encode(frame))
            container.mux(track.encode(None))
    clip = read_audio(path)
    assert clip.samples.shape == (1, 4000) and clip.samples.mean() == pytest.approx(8000 / 32768, abs=1e-4)


def test_four_thousand_pixels_wide(make_clip, read_number):
    info = probe(make_clip(count=3, size=(3840, 2160), options={"preset": "ultrafast"}))
    assert (info.width, info.height) == (3840, 2160)
    assert numbers(info, read_number, [2, 1, 0]) == [2, 1, 0]


def test_a_size_that_changes_half_way_keeps_the_first(tmp_path, numbered):
    path = grown(tmp_path, numbered, (192, 128))
    info = probe(path)
    assert {frame.shape for frame in VideoReader(info).frames()} == {(64, 96, 3)}


def test_an_enormous_picture_is_refused_before_it_is_decoded(tmp_path):
    from struct import pack
    from zlib import compress, crc32

    def chunk(kind, body):
        return pack(">I", len(body)) + kind + body + pack(">I", crc32(kind + body))

    header = pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )
    with pytest.raises(MediaError):
        probe(path)


@pytest.mark.parametrize(
    "name,codec",
    [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.webm", "libvpx"), ("clip.avi", "mpeg4")],
)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_file_cut_anywhere_reads_or_says_why(make_clip, name, codec, share):
    path = make_clip(name, 40, codec=codec, options={"g": "10"})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    try:
        info = probe(path)
        assert sum(1 for _ in VideoReader(info).frames()) == info.frame_count
    except MediaError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize(
    "name,codec",
    [("clip.mp4", "libx264"), ("clip.mkv", "libx264"), ("clip.webm", "libvpx"), ("clip.gif", "gif")],
)
def test_noise_in_a_file_never_escapes_as_another_error(make_clip, name, codec):
    path = make_clip(name, 12, codec=codec, pixel_format="rgb8" if codec == "gif" else "yuv420p")
    clean, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(25):
        data = bytearray(clean)
        for place in rng.integers(0, len(data), 12):
            data[place] = int(rng.integers(256))
        path.write_bytes(bytes(data))
        with suppress(MediaError):
            info = probe(path)
            assert sum(1 for _ in VideoReader(info).frames()) == info.frame_count
        with suppress(MediaError):
            read_audio(path)
