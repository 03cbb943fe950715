"""Numbered pictures in and out."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.media.array_files import written_as_sequence
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.image_sequence import is_sequence
from personatalk_core.media.timing import make_timeline
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import AudioClip


@pytest.fixture
def pictures(tmp_path, numbered):
    """``pictures(pattern, numbers)`` writes one picture a number into tmp_path/in, carrying its place in the
    row."""

    def write(pattern: str, numbers, size=(96, 64), depth=np.uint8):
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        for place, number in enumerate(numbers):
            frame = cv2.cvtColor(numbered(place, *size), cv2.COLOR_RGB2BGR).astype(depth) * (
                257 if depth == np.uint16 else 1
            )
            assert cv2.imwrite(str(folder / (pattern % number)), frame)
        return folder

    return write


@pytest.mark.parametrize(
    "pattern", ["f_%05d.png", "%d.png", "a%03d.tif", "b%02d.bmp", "c%04d.jpg", "d%d.webp"]
)
def test_a_pattern_and_its_folder_read_the_same(pictures, read_number, pattern):
    folder = pictures(pattern, range(7, 13))
    for path, rate in (
        (folder, 25),
        (folder / pattern, 25),
        (folder.parent / "in@24", 24),
        (folder / f"{pattern}@30000/1001", 29.97),
    ):
        info = probe(path)
        assert (info.frame_count, info.width, info.height, info.has_audio) == (6, 96, 64, False)
        assert float(info.rate) == pytest.approx(rate, abs=1e-3)
        order = [0, 5, 2, 2, 1]
        assert [read_number(frame) for frame in VideoReader(info).frames(order)] == order
    assert probe(folder).sha256 == probe(folder / pattern).sha256 != probe(folder.parent / "in@24").sha256


def test_lossless_pictures_come_as_they_are(pictures, numbered):
    frames = list(VideoReader(pictures("%03d.png", range(3))).frames())
    assert all(np.array_equal(frame, numbered(i)) for i, frame in enumerate(frames))


def test_two_comes_before_ten(pictures, read_number):
    folder = pictures("f%d.png", [1, 2, 10, 11])
    assert [read_number(frame) for frame in VideoReader(folder).frames()] == [0, 1, 2, 3]


def test_sixteen_bits_are_remarked(pictures, read_number):
    info = probe(pictures("%d.png", range(2), depth=np.uint16))
    assert any("8 bits" in remark or "has 8" in remark for remark in info.remarks)
    assert [read_number(frame) for frame in VideoReader(info).frames()] == [0, 1]


def test_transparency_of_pictures_is_remarked(tmp_path, numbered):
    cv2.imwrite(str(tmp_path / "1.png"), np.dstack([numbered(0), np.full((64, 96), 128, np.uint8)]))
    assert any("transparency" in remark for remark in probe(tmp_path / "%d.png").remarks)


def test_refusals(pictures, tmp_path):
    folder = pictures("f%d.png", [1, 2, 4])
    with pytest.raises(MediaError, match=r"f3\.png is missing"):
        probe(folder / "f%d.png")
    with pytest.raises(MediaError, match="matches no"):
        probe(folder / "g%d.png")
    with pytest.raises(MediaError, match="matches no"):
        probe(tmp_path / "nowhere" / "g%d.png")
    for rate in ("0", "0/5", "5/0"):
        with pytest.raises(MediaError, match="frames a second"):
            probe(tmp_path / f"in@{rate}")
    with pytest.raises(MediaError, match="does not exist"):
        probe(tmp_path / "in@fast")
    cv2.imwrite(str(folder / "other.jpg"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(MediaError, match="mixes"):
        probe(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="without pictures"):
        probe(tmp_path / "empty")


def test_broken_pictures(pictures, read_number):
    folder = pictures("f%d.png", range(5))
    (folder / "f3.png").write_bytes(b"nothing")
    reader = VideoReader(folder)
    assert [read_number(frame) for frame in reader.frames()] == [0, 1, 2, 2, 4] and reader.damaged == {3}
    (folder / "f0.png").write_bytes(b"")
    with pytest.raises(MediaError):
        probe(folder)


def test_a_picture_of_another_size_is_scaled(pictures, numbered):
    folder = pictures("f%d.png", range(2))
    cv2.imwrite(str(folder / "f2.png"), numbered(2, 192, 128))
    assert {frame.shape for frame in VideoReader(folder).frames()} == {(64, 96, 3)}


def test_a_file_that_looks_like_a_pattern_is_a_file(make_clip, tmp_path):
    path = make_clip("50%d.png.mp4")
    assert not is_sequence(path) and probe(path).frame_count == 12
    picture = tmp_path / "100%d.png"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    assert not is_sequence(picture)


def test_what_is_written_reads_back_exactly(tmp_path, numbered):
    sound = AudioClip(np.random.default_rng(0).uniform(-0.5, 0.5, (2, 4800)).astype(np.float32), 48000)
    with written_as_sequence(tmp_path / "out" / "f_%04d.png") as video:
        timeline = make_timeline(_timed(5), 0.2, "silence")
        with VideoWriter(video, 96, 64, timeline, sound, lossless=True) as writer:
            for number in range(5):
                writer.write(numbered(number))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"f_{n:04d}.png" for n in range(1, 6)] + [
        "sound.wav"
    ]
    frames = list(VideoReader(tmp_path / "out" / "f_%04d.png").frames())
    assert all(np.array_equal(frame, numbered(i)) for i, frame in enumerate(frames)) and len(frames) == 5
    assert np.allclose(read_audio(tmp_path / "out" / "sound.wav").samples[:, :4800], sound.samples, atol=1e-6)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MediaError])
def test_nothing_is_left_of_pictures_that_were_not_finished(tmp_path, error):
    with pytest.raises(error), written_as_sequence(tmp_path / "out" / "f_%04d.png") as video:
        video.write_bytes(b"half")
        raise error("stop")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_not_written_to(tmp_path):
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(MediaError, match="not empty"), written_as_sequence(tmp_path / "f%d.png"):
        pytest.fail("the work must not begin")
    for name in ("f.png", "f%d.gif", "f%d%d.png"):
        with pytest.raises(MediaError, match="not a pattern"), written_as_sequence(tmp_path / "new" / name):
            pytest.fail("the work must not begin")


def _timed(count):
    from types import SimpleNamespace

    return SimpleNamespace(times=np.arange(count) / 25, durations=np.full(count, float(Fraction(1, 25))))
