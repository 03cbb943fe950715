"""Names of frames from made-up readings, and faces that are seen but cannot be read."""

from __future__ import annotations

import numpy as np
import pytest

from personatalk_core.errors import FaceError
from personatalk_core.tracking.landmarks import FaceLandmarker
from personatalk_core.tracking.status import OCCLUSION_CHANGE, SIDE_DEGREES, frame_status, mark_glimpses
from personatalk_core.tracking.track import track_face
from personatalk_core.tracking.tracklet import Tracklet
from personatalk_core.types import ClipFrames, FrameStatus

SIZE = (200, 200)
OK, NO_FACE, SIDE, COVERED, CUT, TINY = FrameStatus


def person(frames, *, shot: int = 0, **changes) -> Tracklet:
    """A face in the middle of the frame; changes: frame -> value of turn, size, appearance_change."""
    points = np.random.default_rng(0).uniform(60, 140, (478, 3)).astype(np.float32)
    one = Tracklet(shot)
    for frame in frames:
        one.frames.append(frame)
        one.landmarks.append(points + changes.get("shift", {}).get(frame, 0))
        one.blendshapes.append(np.zeros(52, np.float32))
        one.turn.append(changes.get("turn", {}).get(frame, 5.0))
        one.size.append(changes.get("size", {}).get(frame, 90.0))
        one.appearance_change.append(changes.get("change", {}).get(frame, 0.1))
    return one


def statuses(parts, shots, tracklets=None) -> list[int]:
    landmarks = np.zeros((len(shots), 478, 3), np.float32)
    for part in parts:
        landmarks[part.frames] = np.stack(part.landmarks)
    return frame_status(parts, tracklets or parts, np.array(shots), landmarks, SIZE).tolist()


def test_gaps_inside_a_shot_are_covered_and_others_are_not():
    both = [person([1, 2, 5, 6]), person([10, 11], shot=1)]
    assert statuses(both, [0] * 8 + [1] * 4) == [
        NO_FACE,
        OK,
        OK,
        COVERED,
        COVERED,
        OK,
        OK,
        NO_FACE,
        NO_FACE,
        NO_FACE,
        OK,
        OK,
    ]


def test_a_gap_beside_a_turned_head_is_side():
    turned = person([0, 1, 2, 3, 4, 8, 9], turn={2: 50.0, 3: 50.0, 4: 50.0})
    assert statuses([turned], [0] * 10)[5:8] == [SIDE] * 3


def test_a_face_that_left_the_frame_was_not_covered():
    gone = person([0, 1, 2, 6, 7], shift={2: 150})
    assert statuses([gone], [0] * 8)[3:6] == [NO_FACE] * 3


def test_turned_tiny_and_hidden_frames_have_their_names():
    frames = range(40)
    one = person(
        frames,
        turn=dict.fromkeys(range(10, 15), SIDE_DEGREES + 3),
        size=dict.fromkeys(range(20, 24), 20.0),
        change=dict.fromkeys(range(30, 35), OCCLUSION_CHANGE + 0.3),
    )
    found = statuses([one], [0] * 40)
    assert [i for i in frames if found[i] == SIDE] == list(range(10, 15))
    assert [i for i in frames if found[i] == TINY] == list(range(20, 24))
    assert [i for i in frames if found[i] == COVERED] == list(range(30, 35))


def test_one_odd_frame_is_neither_turned_nor_hidden():
    one = person(range(20), turn={5: 80.0}, change={12: 2.0})
    assert statuses([one], [0] * 20) == [OK] * 20


def test_a_shot_of_other_people_is_cut_and_a_shot_of_patterns_is_not():
    host, guest, pattern = person(range(5)), person(range(5, 10), shot=1), person([12], shot=2)
    assert (
        statuses([host], [0] * 5 + [1] * 5 + [2] * 5, [host, guest, pattern])
        == [OK] * 5 + [CUT] * 5 + [NO_FACE] * 5
    )


def test_glimpses_name_the_frames_between_them():
    status = np.array([OK, NO_FACE, NO_FACE, NO_FACE, NO_FACE, NO_FACE, NO_FACE], np.uint8)
    shot = np.array([0, 0, 0, 0, 0, 1, 1])
    assert mark_glimpses(status, shot, [1, 3, 5]).tolist() == [OK, SIDE, SIDE, SIDE, NO_FACE, SIDE, NO_FACE]
    assert mark_glimpses(status, shot, []).tolist() == status.tolist()


def test_a_face_that_is_seen_but_never_read_is_said_so(woman, track, monkeypatch):
    """As with a profile: the detector sees it, the landmarks cannot be found."""
    monkeypatch.setattr(FaceLandmarker, "read", lambda *_, **__: [])
    with pytest.raises(
        FaceError, match="a face is seen in frame 0 but can be read in none of the 3 frames; use"
    ):
        track(woman[:3])


def test_frames_in_which_the_face_cannot_be_read_yet_are_side(woman, landmarker, monkeypatch):
    read, frames = FaceLandmarker.read, []

    def later(self, frame, box, **options):
        return read(self, frame, box, **options) if len(frames) > 12 else []

    def counted(first):
        for picture in woman[first:20]:
            frames.append(1)
            yield picture

    monkeypatch.setattr(FaceLandmarker, "read", later)
    result = track_face(ClipFrames(counted, np.arange(20) / 25, (350, 350)), landmarker=landmarker)
    assert result.status[0] == SIDE and result.status[-1] == OK
