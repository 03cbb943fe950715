"""A video's frames -> the track of one face: landmarks, status and shot of every frame."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..checks import check_shape
from ..config import MIN_FACE_PIXELS, FaceChoice
from ..errors import FaceError, ShapeError
from ..types import FaceTrack, FrameStatus, OnProgress
from .candidate import Candidate
from .choose import choose_person
from .follow import FaceFollower
from .landmarks import BLENDSHAPE_COUNT, LANDMARK_COUNT, TASK_FILE, FaceLandmarker
from .persons import same_person
from .status import frame_status, name_glimpses


def track_face(
    frames: Iterable[np.ndarray],
    times: np.ndarray,
    frame_size: tuple[int, int],
    choice: FaceChoice | None = None,
    *,
    source: str = "",
    on_progress: OnProgress | None = None,
    landmarker: FaceLandmarker | Path | None = None,
) -> FaceTrack:
    """Follow one face through a video.

    Paper: 4.1 (face landmarks by MediaPipe). All faces are followed while the frames stream by once; which of
    them is meant is decided at the end. Only landmarks are kept, never frames.
    Args:
        frames:      T frames (H, W, 3) uint8 RGB, in order; consumed once.
        times:       (T,) seconds.
        frame_size:  (H, W) of every frame.
        choice:      which face; None for ``auto``.
        source:      sha256 of the video, kept in the track.
        on_progress: called after each frame with (done, T).
        landmarker:  one to use again, or the path of its model file; None for the bundled one.
    Returns:
        FaceTrack of T frames. Landmarks of COVERED and SIDE frames that were not read are interpolated between the frames around them;
        SIDE is also a face that was seen but could not be read; CUT marks shots that show only other people.
    Raises:
        FaceError: no face in the whole clip, all of the face too small, or a choice that matches no face.
        ShapeError: a frame of another size, or another number of frames than times.
        DependencyError, WeightsError: see FaceLandmarker.
    """
    times = np.asarray(times, np.float64)
    own = None if isinstance(landmarker, FaceLandmarker) else FaceLandmarker(landmarker or TASK_FILE)
    choice = choice or FaceChoice("auto")
    follower = FaceFollower(own or landmarker, all_sizes=choice.kind in ("index", "point"))
    try:
        for number, frame in enumerate(frames):
            check_shape(f"frame {number}", frame, *frame_size, 3)
            if frame.dtype != np.uint8:
                raise ShapeError(f"frame {number} is {frame.dtype} but expected uint8 RGB.")
            follower.step(frame)
            if on_progress is not None:
                on_progress(number + 1, len(times))
    finally:
        if own is not None:
            own.close()
    if len(follower.shots) != len(times):
        raise ShapeError(f"{len(follower.shots)} frames came but {len(times)} frame times; expected one time a frame.")
    if not follower.candidates:
        glimpses = follower.glimpses
        seen = f"a face is seen in frame {glimpses[0]} but can be read in none" if glimpses else "no face was found in any"
        raise FaceError(
            f"{seen} of the {len(times)} frames; use a video in which a face is seen from the front, "
            f"at least {MIN_FACE_PIXELS} pixels wide and not covered."
        )
    person = choose_person(follower.candidates, choice)
    parts = same_person(person, follower.candidates)
    track = _assemble(parts, follower, times, frame_size, source)
    _refuse_tiny(track, parts)
    return track


def _assemble(
    parts: list[Candidate], follower: FaceFollower, times: np.ndarray, frame_size: tuple[int, int], source: str
) -> FaceTrack:
    count = len(times)
    landmarks = np.zeros((count, LANDMARK_COUNT, 3), np.float32)
    blendshapes = np.zeros((count, BLENDSHAPE_COUNT), np.float32)
    shot = np.array(follower.shots, np.int64)
    for part in parts:
        for frame, points, scores in zip(part.frames, part.landmarks, part.blendshapes, strict=True):
            landmarks[frame], blendshapes[frame] = points, scores
    status = frame_status(parts, follower.candidates, shot, landmarks, frame_size)
    _bridge(landmarks, blendshapes, status, np.sort(np.concatenate([part.frames for part in parts])))
    status = name_glimpses(status, shot, follower.glimpses)
    return FaceTrack(landmarks, blendshapes, status, shot, times, frame_size, source)


def _bridge(landmarks: np.ndarray, blendshapes: np.ndarray, status: np.ndarray, read: np.ndarray) -> None:
    """Fill frames where the face was hidden between two readings with a straight line between these, in place."""
    hidden = np.isin(status, (FrameStatus.COVERED, FrameStatus.SIDE))
    gaps = np.setdiff1d(np.flatnonzero(hidden), read)
    after = np.searchsorted(read, gaps)
    weight = ((gaps - read[after - 1]) / (read[after] - read[after - 1])).astype(np.float32)
    for values in (landmarks, blendshapes):
        w = weight.reshape(-1, *[1] * (values.ndim - 1))
        values[gaps] = (1 - w) * values[read[after - 1]] + w * values[read[after]]


def _refuse_tiny(track: FaceTrack, parts: list[Candidate]) -> None:
    shown = track.status[np.concatenate([p.frames for p in parts])]
    if (shown == FrameStatus.TINY).all():
        largest = max(max(p.size) for p in parts)
        raise FaceError(
            f"the face is too small: {largest:.0f} pixels across at its largest, expected at least {MIN_FACE_PIXELS}; "
            "use a video of a higher resolution or a closer shot."
        )
