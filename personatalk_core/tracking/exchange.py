"""A track in the form in which other programs hand faces on: one record a face and frame, with the names
that ports of MediaPipe use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import DependencyError, OptionsError, ShapeError
from ..types import FaceTrack, FrameStatus

WITH_LANDMARKS = (FrameStatus.OK, FrameStatus.SIDE, FrameStatus.COVERED)  # what may have landmarks
REGIONS = {
    "face_oval": ("FACE_OVAL",),
    "lips": ("LIPS",),
    "left_eye": ("LEFT_EYE",),
    "right_eye": ("RIGHT_EYE",),
    "left_eyebrow": ("LEFT_EYEBROW",),
    "right_eyebrow": ("RIGHT_EYEBROW",),
    "irises": ("LEFT_IRIS", "RIGHT_IRIS"),
    "nose": ("NOSE",),
    "tesselation": ("TESSELATION",),
}
CONTOURS = ("face_oval", "left_eye", "right_eye", "left_eyebrow", "right_eyebrow", "lips")


def face_records(track: FaceTrack, score_names: Sequence[str]) -> list[list[dict]]:
    """Per frame a list of one record, or an empty one where the face is not seen.

    Args:
        score_names: 52 names of the blendshape scores, in MediaPipe's order.
    Returns:
        T lists. A record has landmarks_xy (478, 2) float32 pixels, landmarks_3d (478, 3) pixels with
        MediaPipe's z (smaller is nearer), bbox_xyxy (4,) float32 around the landmarks, blendshapes {name:
        0..1}, score and presence (1.0).
    Raises:
        ShapeError: another number of names than scores.
    """
    if len(score_names) != track.blendshapes.shape[1]:
        raise ShapeError(
            f"{len(score_names)} names came for {track.blendshapes.shape[1]} blendshape scores; expected "
            "one a score."
        )
    frames: list[list[dict]] = []
    for points, scores, status in zip(track.landmarks, track.blendshapes, track.status, strict=True):
        if status not in WITH_LANDMARKS or not points.any():
            frames.append([])
            continue
        flat = points[:, :2]
        record = {
            "landmarks_xy": flat.copy(),
            "landmarks_3d": points * np.array([1, 1, -1], np.float32),
            "bbox_xyxy": np.concatenate([flat.min(0), flat.max(0)]),
            "blendshapes": dict(zip(score_names, scores.tolist(), strict=True)),
            "score": 1.0,
            "presence": 1.0,
        }
        frames.append([record])
    return frames


def connection_sets() -> dict[str, frozenset[tuple[int, int]]]:
    """Which landmarks are joined, by region of the face. Raises DependencyError without mediapipe."""
    try:
        from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections
    except ImportError as error:
        raise DependencyError("mediapipe is not installed; run: pip install 'mediapipe>=1.0'.") from error
    sets = {
        region: frozenset(
            (edge.start, edge.end)
            for name in names
            for edge in getattr(FaceLandmarksConnections, f"FACE_LANDMARKS_{name}")
        )
        for region, names in REGIONS.items()
    }
    sets["contours"] = frozenset().union(*(sets[name] for name in CONTOURS))
    sets["all"] = sets["contours"] | sets["irises"] | sets["nose"]
    return sets


def face_in_box(boxes: object) -> str:
    """The face choice ``point:X,Y@FRAME`` for the first box of a list as detectors hand it on.

    Args:
        boxes: one box {x, y, width, height} in pixels, a list of boxes of frame 0, or a list of such lists,
            one a frame.
    Raises:
        OptionsError: no box, or none of that form.
    """
    entries: list = (
        [boxes] if isinstance(boxes, Mapping) else list(boxes) if isinstance(boxes, Sequence) else []
    )
    frames = [entries] if entries and isinstance(entries[0], Mapping) else entries
    for number, found in enumerate(frames):
        for box in found:
            try:
                x, y, width, height = (float(box[key]) for key in ("x", "y", "width", "height"))
            except (KeyError, TypeError, ValueError) as error:
                raise OptionsError(
                    "a face box must have the numbers x, y, width and height, in pixels."
                ) from error
            return f"point:{x + width / 2:g},{y + height / 2:g}@{number}"
    raise OptionsError("no face box came; connect a detector that found a face, or use the widget 'face'.")
