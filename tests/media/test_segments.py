"""Segments: coded apart, joined without coding again, the same file however often the work was
interrupted."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from personatalk_core.dubbing.run_cache import cache_beside
from personatalk_core.errors import MediaError
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.picture_coding import format_of, picture_coding
from personatalk_core.media.segments import SegmentedVideo
from personatalk_core.media.video_reader import VideoReader, probe
from personatalk_core.types import AudioClip, Timeline

COUNT, SIZE = 37, (97, 66)
SOUND = AudioClip(0.1 * np.random.default_rng(1).standard_normal((2, 70_000)).astype(np.float32), 44_100)


def picture(t: int) -> np.ndarray:
    x, y = np.linspace(0, 6, SIZE[0])[None] + t * 0.1, np.linspace(0, 5, SIZE[1])[:, None]
    return ((np.stack([np.sin(x + y), np.cos(x - y + t * 0.05), np.sin(x * y * 0.2)], -1) + 1) * 127).astype(
        np.uint8
    )


def timeline(varies: bool) -> Timeline:
    durations = np.where(np.arange(COUNT) % 3 == 0, 0.05, 0.03) if varies else np.full(COUNT, 0.04)
    times = np.concatenate([[0], np.cumsum(durations)[:-1]]) if varies else np.arange(COUNT) / 25
    return Timeline(np.arange(COUNT), times, durations)


def segmented(work, out, line, *, lossless=False, segment=8) -> SegmentedVideo:
    return SegmentedVideo(
        work, "video", picture_coding(format_of(out), *SIZE, line, lossless=lossless), out, segment
    )


def code(video: SegmentedVideo, number: int) -> None:
    with video.writer(number) as writer:
        for t in video.frames(number):
            writer.write(picture(t))


@pytest.mark.parametrize(
    "suffix, lossless, varies",
    [(".mp4", False, False), (".mkv", False, True), (".mov", False, True), (".mp4", True, False)],
)
def test_joined_in_one_run_or_in_several(tmp_path, suffix, lossless, varies):
    line, files = timeline(varies), []
    for stops in ((), (0, 2, 4)):
        out = tmp_path / f"{len(stops)}{suffix}"
        for stop in stops:
            with pytest.raises(KeyboardInterrupt), cache_beside(out, {}) as work:
                video = segmented(work, out, line, lossless=lossless)
                for number in [k for k in range(video.count) if not video.finished(k)]:
                    if number == stop:
                        with video.writer(number) as writer:
                            writer.write(picture(0))
                            raise KeyboardInterrupt  # in the middle of a segment
                    code(video, number)
        with cache_beside(out, {}) as work:
            video = segmented(work, out, line, lossless=lossless)
            missing = [k for k in range(video.count) if not video.finished(k)]
            assert missing == list(range(stops[-1] if stops else 0, 5))
            for number in missing:
                code(video, number)
            video.join(SOUND, {}, work.path(f"joined{suffix}"))
        files.append(out.read_bytes())
    assert files[0] == files[1]
    info = probe(out)
    assert info.frame_count == COUNT and np.allclose(info.times, line.times, atol=1e-3)
    assert info.keyframe.nonzero()[0].tolist() == [0, 8, 16, 24, 32]
    for t, frame in enumerate(VideoReader(info).frames()):
        assert np.abs(frame.astype(int) - picture(t)).mean() < (0.01 if lossless else 4)
    assert read_audio(out).duration == pytest.approx(line.duration, abs=0.05)


def test_a_part_that_is_gone_is_a_sentence_and_no_file(tmp_path):
    out = tmp_path / "o.mp4"
    with pytest.raises(MediaError, match="finished part"), cache_beside(out, {}) as work:
        video = segmented(work, out, timeline(False))
        for number in range(video.count):
            code(video, number)
        work.path("video-00003.h264").unlink()
        assert not video.finished(3) and video.finished(2)
        video.join(None, {}, work.path("joined.mp4"))
    assert not out.exists()


def test_a_segment_of_too_few_frames_is_not_kept(tmp_path):
    with cache_beside(tmp_path / "o.mp4", {}) as work:
        video = segmented(work, tmp_path / "o.mp4", timeline(False))
        with pytest.raises(MediaError, match="has 8"), video.writer(0) as writer:
            writer.write(picture(0))
        assert not video.finished(0)


def test_no_encoder_outlives_its_segment(tmp_path):
    """PyAV's encoders and containers refer to each other, and an encoder holds dozens of pictures."""

    def encoders() -> int:
        return sum(type(item).__name__ == "OutputContainer" for item in gc.get_objects())

    out = tmp_path / "out.mp4"
    with cache_beside(out, {}, keep=False) as work:
        video = segmented(work, out, timeline(False))
        gc.collect()
        before = encoders()
        for number in range(video.count):
            code(video, number)
            assert encoders() == before
