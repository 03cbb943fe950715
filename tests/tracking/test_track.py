"""Scenes made from two sample faces: found, followed, told apart, marked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from personatalk_core.config import FaceChoice
from personatalk_core.errors import FaceError, ShapeError
from personatalk_core.tracking.track import track_face
from personatalk_core.types import ClipFrames, FrameStatus

GREY = 120


def centres(track) -> np.ndarray:
    """(T, 2) middle of the landmarks."""
    return (track.landmarks[..., :2].min(1) + track.landmarks[..., :2].max(1)) / 2


def clip(pictures, *, count: int | None = None, size=(350, 350)) -> ClipFrames:
    """Pictures at 25 frames/s, with as many times as ``count`` says."""
    return ClipFrames(lambda first: pictures[first:], np.arange(count or len(pictures)) / 25, size)


def names(track) -> list[str]:
    return [FrameStatus(s).name for s in track.status]


def test_a_plain_clip_is_ok_in_every_frame(woman, track):
    done: list[tuple[int, int]] = []
    result = track(woman[:10], on_progress=lambda d, t: done.append((d, t)), source="abc")
    assert names(result) == ["OK"] * 10
    assert (
        result.frame_size == (350, 350) and result.source == "abc" and result.times[1] == pytest.approx(0.04)
    )
    assert done == [(i + 1, 10) for i in range(10)]
    eyes, mouth = result.landmarks[:, [33, 263], 1].mean(1), result.landmarks[:, [13, 14], 1].mean(1)
    assert (mouth > eyes + 40).all()
    assert (result.landmarks[:, 1, 2] > result.landmarks[:, 234, 2]).all(), (
        "the tip of the nose must be nearer than the edge of the face"
    )
    assert result.blendshapes.min() >= 0 and result.blendshapes.max() <= 1


def test_it_reads_the_frames_once_and_in_order(woman, landmarker):
    def stream(first):
        yield from woman[first:4]

    result = track_face(ClipFrames(stream, np.arange(4) / 25, (350, 350)), landmarker=landmarker)
    assert result.frame_count == 4


def test_a_face_of_48_pixels_in_4k_is_found(woman, track, paste):
    canvas = np.full((2160, 3840, 3), GREY, np.uint8)
    size = 100  # the sample's face is 0.48 of its height
    frames = [paste(canvas, picture, 2900 + i, 1500, size) for i, picture in enumerate(woman[:3])]
    result = track(frames)
    height = np.ptp(result.landmarks[0, :, 1])
    assert height < 56
    assert names(result) == ["OK"] * 3
    assert np.abs(centres(result) - np.array([2900 + 50, 1500 + 55])).max() < 25


def test_an_80_pixel_face_in_720p_is_found(woman, track, paste):
    frames = [paste(np.full((720, 1280, 3), GREY, np.uint8), picture, 200, 400, 160) for picture in woman[:3]]
    result = track(frames)
    assert names(result) == ["OK"] * 3 and np.abs(centres(result)[0] - (275, 480)).max() < 35


@pytest.mark.parametrize("face", ["index:0", "index:1"])
def test_identity_is_held_when_two_people_cross(woman, man, track, paste, face):
    """The woman passes in front of the man from left to right; each comes out on the other side."""
    frames, true = [], {"index:0": [], "index:1": []}
    for i in range(26):
        left, right = 10 + 18 * i, 460 - 18 * i
        canvas = np.full((300, 720, 3), GREY, np.uint8)
        canvas = paste(canvas, man[i % 15], right, 20, 250)
        canvas = paste(canvas, woman[i], left, 30, 250)
        frames.append(canvas)
        true["index:0"].append(left + 118)
        true["index:1"].append(right + 125)
    result = track(frames, face)
    ok = result.status == FrameStatus.OK
    assert ok[:6].all() and ok[-6:].all()
    assert np.abs(centres(result)[ok, 0] - np.array(true[face])[ok]).max() < 45


def test_auto_is_the_one_who_speaks(woman, man, track, paste):
    """A still, larger face beside a talking one."""
    frames = []
    for i in range(12):
        canvas = paste(np.full((360, 720, 3), GREY, np.uint8), woman[0], 0, 5, 350)
        frames.append(paste(canvas, man[i], 380, 40, 300))
    assert centres(track(frames))[0, 0] > 360
    assert centres(track(frames, "index:0"))[0, 0] < 360


def test_largest_and_point_choose_by_size_and_place(woman, man, track, paste):
    frames = [
        paste(paste(np.full((360, 720, 3), GREY, np.uint8), woman[0], 0, 5, 350), man[i], 420, 80, 220)
        for i in range(5)
    ]
    assert centres(track(frames, "largest"))[0, 0] < 360
    assert centres(track(frames, "point:530,190@2"))[0, 0] > 360
    with pytest.raises(FaceError, match=r"no face at point \(10, 10\) in frame 2: 2 faces, at"):
        track(frames, "point:10,10@2")
    with pytest.raises(FaceError, match=r"index:2 does not exist.*2 faces.*from 0 to 1"):
        track(frames, "index:2")


def test_cut_to_another_person_and_back(woman, man, track):
    frames = [*woman[:6], *man[:6], *woman[6:12]]
    result = track(frames, "index:0")
    assert result.shot.tolist() == [0] * 6 + [1] * 6 + [2] * 6
    assert names(result) == ["OK"] * 6 + ["CUT"] * 6 + ["OK"] * 6
    assert not result.landmarks[6:12].any()


def test_cut_to_the_same_person_in_another_framing(woman, track):
    """The second shot is closer; it is followed as a shot of its own, without a slide between the two."""
    import cv2

    closer = [cv2.resize(picture[20:250, 40:270], (350, 350)) for picture in woman[6:12]]
    result = track([*woman[:6], *closer])
    assert result.shot.tolist() == [0] * 6 + [1] * 6 and names(result) == ["OK"] * 12
    heights = np.ptp(result.landmarks[..., 1], axis=1)
    assert heights[6:].min() > 1.35 * heights[:6].max()


def test_a_covered_face_is_marked_and_bridged(woman, track):
    frames = [picture.copy() for picture in woman[:18]]
    for i in range(8, 12):
        frames[i][60:240, 85:235] = (40, 160, 60)
    result = track(frames)
    assert names(result) == ["OK"] * 8 + ["COVERED"] * 4 + ["OK"] * 6
    middle = centres(result)
    assert np.abs(middle[8:12] - (middle[7] + middle[12]) / 2).max() < 10, (
        "covered frames lie between their neighbours"
    )


def test_a_hand_sized_thing_before_the_mouth_is_covered(woman, track):
    frames = [picture.copy() for picture in woman[:18]]
    for i in range(8, 13):
        frames[i][150:215, 105:215] = (60, 60, 70)
    result = track(frames)
    assert names(result)[:8] == ["OK"] * 8 and names(result)[13:] == ["OK"] * 5
    assert set(names(result)[8:13]) == {"COVERED"}


def test_frames_before_and_after_the_face_have_none(woman, track):
    blank = np.full_like(woman[0], (150, 30, 35))
    result = track([blank, blank, *woman[:8], blank, blank])
    assert names(result) == ["NO_FACE"] * 2 + ["OK"] * 8 + ["NO_FACE"] * 2
    assert not result.landmarks[:2].any()


def test_no_face_in_the_whole_clip(track):
    noise = np.random.default_rng(0).integers(0, 255, (3, 240, 320, 3), np.uint8)
    with pytest.raises(FaceError, match="no face was found in any of the 3 frames; use"):
        track(noise)


def test_a_face_too_small_to_dub(woman, track, paste):
    frames = [paste(np.full((240, 320, 3), GREY, np.uint8), picture, 100, 80, 54) for picture in woman[:3]]
    with pytest.raises(FaceError, match=r"the face is too small: \d+ pixels.*expected at least 32"):
        track(frames)


def test_frames_and_times_must_agree(woman, landmarker):
    with pytest.raises(ShapeError, match="2 frames came but 3 frame times"):
        track_face(clip(woman[:2], count=3), landmarker=landmarker)
    with pytest.raises(ShapeError, match="frame 0 has shape"):
        track_face(clip(woman[:2], size=(350, 351)), FaceChoice("auto"), landmarker=landmarker)


def test_tracks_made_at_once_equal_tracks_made_alone(woman, man, track):
    """Two clips in two threads, each with a landmarker of its own, give the very numbers they give one by
    one."""
    clips = [woman[:6], man[:6]]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(track_face, clip(pictures)) for pictures in clips]
        together = [job.result(timeout=60) for job in jobs]
    for pictures, result in zip(clips, together, strict=True):
        alone = track(pictures)
        assert np.array_equal(alone.landmarks, result.landmarks) and np.array_equal(
            alone.blendshapes, result.blendshapes
        )


def test_cancelling_stops_between_frames(woman, track):
    class Cancelled(Exception):
        pass

    def cancel(done: int, total: int) -> None:
        if done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        track(woman[:5], on_progress=cancel)


def test_a_cut_to_another_person_before_the_same_wall_is_a_cut(corpus, track):
    """Two speakers recorded in one studio, framed alike: only the face says that the person changed."""
    import av

    def start(name: str) -> list[np.ndarray]:
        with av.open(str(next(corpus.glob(f"*/{name}__*")))) as container:
            return [
                f.to_ndarray(format="rgb24")
                for _, f in zip(range(5), container.decode(video=0), strict=False)
            ]

    result = track([*start("grid_x7"), *start("grid_x1"), *start("grid_x5")])
    assert result.shot.tolist() == [0] * 5 + [1] * 5 + [2] * 5
