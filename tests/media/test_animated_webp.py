import cv2
import numpy as np
import pytest

from personatalk_core.errors import MediaError
from personatalk_core.media import image_sequence
from personatalk_core.media.video_reader import VideoReader, is_animated_webp, probe

pytestmark = pytest.mark.skipif(
    not hasattr(cv2, "imwriteanimation"), reason="this OpenCV cannot make the clip"
)


@pytest.fixture
def make_webp(tmp_path, numbered):
    def make(milliseconds):
        animation = cv2.Animation()
        animation.frames = [cv2.cvtColor(numbered(i), cv2.COLOR_RGB2BGRA) for i in range(len(milliseconds))]
        animation.durations = np.array(milliseconds, np.int32)
        path = tmp_path / "clip.webp"
        assert cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, 101])
        return path

    return make


def test_a_constant_rate_is_found_and_frames_come_in_any_order(make_webp, read_number, monkeypatch):
    monkeypatch.setattr(image_sequence, "WEBP_BATCH", 5)
    info = probe(make_webp([40] * 12))
    assert (info.rate, info.constant_rate, info.frame_count, info.width, info.height) == (
        25,
        True,
        12,
        96,
        64,
    )
    order = [*range(12), *range(10, -1, -1), 7]
    assert [read_number(f) for f in VideoReader(info).frames(order)] == order


def test_fifteen_a_second_through_milliseconds(make_webp):
    assert probe(make_webp([66, 67, 67] * 4)).rate == 15


def test_every_frame_keeps_its_own_duration(make_webp):
    info = probe(make_webp([40, 200, 60, 40, 500]))
    assert not info.constant_rate
    assert np.allclose(info.durations, [0.04, 0.2, 0.06, 0.04, 0.5])


def test_other_files_are_not_animations(make_clip, tmp_path):
    assert not is_animated_webp(make_clip())
    still = tmp_path / "still.webp"
    cv2.imwrite(str(still), np.zeros((8, 8, 3), np.uint8))
    assert not is_animated_webp(still)
    assert probe(still).frame_count == 1


@pytest.mark.skipif(not hasattr(cv2, "imreadanimation"), reason="this OpenCV cannot read the clip")
@pytest.mark.parametrize("quality", [60, 101])
def test_pixels_are_those_of_another_reader(tmp_path, numbered, quality):
    """Every frame and duration as OpenCV reads them, half of each picture transparent."""
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(numbered(i), cv2.COLOR_RGB2BGRA) for i in range(9)]
    for picture in animation.frames:
        picture[:, ::2, 3] = np.arange(picture.shape[0])[:, None] * 3
    animation.durations = np.array([40, 80, 1] * 3, np.int32)
    path = tmp_path / "clip.webp"
    assert cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_WEBP_QUALITY, quality])
    _, read = cv2.imreadanimation(str(path))
    frames = list(VideoReader(path).frames())
    assert len(frames) == len(read.frames) == 9
    for ours, theirs in zip(frames, read.frames, strict=True):
        assert np.array_equal(ours, cv2.cvtColor(theirs, cv2.COLOR_BGRA2RGB))
    assert np.allclose(probe(path).durations, [0.04, 0.08, 0.1] * 3)


def test_a_broken_animation_says_so(make_webp):
    path = make_webp([40] * 12)
    data = bytearray(path.read_bytes())
    data[60 : len(data) // 2] = bytes(len(data) // 2 - 60)
    path.write_bytes(bytes(data))
    with pytest.raises(MediaError):
        info = probe(path)
        list(VideoReader(info).frames())
