"""Records of a track hold its landmarks; boxes of detectors become a choice of face."""

import numpy as np
import pytest

from personatalk_core.config import FaceChoice
from personatalk_core.errors import OptionsError, ShapeError
from personatalk_core.tracking.exchange import connection_sets, face_in_box, face_records
from personatalk_core.types import FaceTrack, FrameStatus

NAMES = [f"score {k}" for k in range(52)]
BOX = {"x": 10, "y": 20, "width": 30, "height": 40}


@pytest.fixture
def track():
    points = np.random.default_rng(0).uniform(10, 90, (3, 478, 3)).astype(np.float32)
    points[1] = 0
    status = np.array([FrameStatus.OK, FrameStatus.NO_FACE, FrameStatus.SIDE], np.uint8)
    return FaceTrack(
        points,
        np.full((3, 52), 0.5, np.float32),
        status,
        np.zeros(3, np.int64),
        np.arange(3) / 25,
        (100, 100),
    )


def test_records_are_the_landmarks(track):
    records = face_records(track, NAMES)
    assert [len(frame) for frame in records] == [1, 0, 1]
    face = records[0][0]
    np.testing.assert_array_equal(face["landmarks_xy"], track.landmarks[0, :, :2])
    np.testing.assert_array_equal(face["landmarks_3d"][:, 2], -track.landmarks[0, :, 2])
    assert (
        face["bbox_xyxy"][0] == track.landmarks[0, :, 0].min()
        and face["bbox_xyxy"][3] == track.landmarks[0, :, 1].max()
    )
    assert face["blendshapes"]["score 51"] == 0.5
    face["landmarks_xy"][:] = 0
    assert track.landmarks[0].any(), "a receiver's change must not reach the track"


def test_names_must_fit_the_scores(track):
    with pytest.raises(ShapeError, match="51 names"):
        face_records(track, NAMES[1:])


def test_regions_are_rings_of_landmarks():
    sets = connection_sets()
    assert len(sets["lips"]) == 40 and len(sets["face_oval"]) == 36
    assert {end for edge in sets["all"] for end in edge} <= set(range(478))


@pytest.mark.parametrize(
    ("boxes", "text"), [(BOX, "point:25,40@0"), ([BOX], "point:25,40@0"), ([[], [BOX, BOX]], "point:25,40@1")]
)
def test_a_box_chooses_the_face_at_its_middle(boxes, text):
    assert face_in_box(boxes) == text
    assert FaceChoice.parse(text).point == (25.0, 40.0)


@pytest.mark.parametrize("boxes", [[], [[]], None, [{"x": 1}], [["left"]]])
def test_what_is_no_box_is_refused(boxes):
    with pytest.raises(OptionsError, match="box"):
        face_in_box(boxes)
