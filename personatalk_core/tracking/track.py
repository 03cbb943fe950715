"""A video's frames -> the track of one face: landmarks, status and shot of every frame."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from ..checks import check_shape
from ..config import MIN_FACE_PIXELS, FaceChoice
from ..errors import FaceError, ShapeError
from ..types import Cache, ClipFrames, FaceTrack, FrameStatus, OnProgress
from .choose import choose_person, same_person
from .follow import FaceFollower
from .landmarks import BLENDSHAPE_COUNT, LANDMARK_COUNT, TASK_FILE, FaceLandmarker
from .state import restore, state_of
from .status import frame_status, name_glimpses
from .tracklet import RowFile, RowList, Tracklet, TrackRows

STATE = "tracking"
KEEP_EVERY = 250  # frames after which the state is kept, at least ...
KEEP_SHARE = (
    20  # ... and never before one in so many of the frames so far are new, for the state grows with the clip
)


def track_face(
    clip: ClipFrames,
    choice: FaceChoice | None = None,
    *,
    landmarker: FaceLandmarker | Path | None = None,
    on_progress: OnProgress | None = None,
    cache: Cache | None = None,
) -> FaceTrack:
    """Follow one face through a video.

    Paper: 4.1 (face landmarks by MediaPipe). All faces are followed while the frames stream by once; which of
    them is meant is decided at the end. Only landmarks are kept, never frames.
    Args:
        clip:        its frames are consumed once, from the first one that the cache does not know.
        choice:      which face; None for ``auto``.
        landmarker:  one to use again, or the path of its model file; None for the bundled one.
        on_progress: called after each frame with (done, T).
        cache:       keeps what was tracked; a run that was killed goes on from there. The track's landmarks
            and blendshapes then stay on disk and are read by slices.
    Returns:
        FaceTrack of T frames. Landmarks of COVERED and SIDE frames that were not read are interpolated
        between the frames around them; SIDE is also a face that was seen but could not be read; CUT marks
        shots that show only other people.
    Raises:
        FaceError: no face in the whole clip, all of the face too small, or a choice that matches no face.
        ShapeError: a frame of another size, or another number of frames than times.
        DependencyError, WeightsError: see FaceLandmarker.
    """
    times, frame_size = np.asarray(clip.times, np.float64), clip.frame_size
    own = None if isinstance(landmarker, FaceLandmarker) else FaceLandmarker(landmarker or TASK_FILE)
    choice = choice or FaceChoice("auto")
    follower = _follower(own or landmarker, choice.kind in ("index", "point"), cache)
    first = len(follower.shots)
    try:
        for number, frame in enumerate(clip.frames(first), start=first):
            check_shape(f"frame {number}", frame, *frame_size, 3)
            if frame.dtype != np.uint8:
                raise ShapeError(f"frame {number} is {frame.dtype} but expected uint8 RGB.")
            follower.step(frame)
            if cache is not None and number + 1 - first >= max(KEEP_EVERY, first // KEEP_SHARE):
                cache.save(STATE, *state_of(follower))
                first = number + 1
            if on_progress is not None:
                on_progress(number + 1, len(times))
    finally:
        if own is not None:
            own.close()
    if len(follower.shots) != len(times):
        raise ShapeError(
            f"{len(follower.shots)} frames came but {len(times)} frame times; expected one time a frame."
        )
    if not follower.tracklets:
        glimpses = follower.glimpses
        seen = (
            f"a face is seen in frame {glimpses[0]} but can be read in none"
            if glimpses
            else "no face was found in any"
        )
        raise FaceError(
            f"{seen} of the {len(times)} frames; use a video in which a face is seen from the front, "
            f"at least {MIN_FACE_PIXELS} pixels wide and not covered."
        )
    person = choose_person(follower.tracklets, choice)
    parts = same_person(person, follower.tracklets)
    track = _assemble(parts, follower, times, frame_size, clip.source)
    _refuse_tiny(track, parts)
    return track


def _follower(landmarker: FaceLandmarker, all_sizes: bool, cache: Cache | None) -> FaceFollower:
    """A follower at the beginning, or where an earlier run kept its state."""
    if cache is None:
        return FaceFollower(landmarker, all_sizes=all_sizes)
    kept = cache.load(STATE)
    count = 0 if kept is None else len(kept.tensors["frames"])
    paths, shapes = (
        (cache.path("landmarks.f32"), cache.path("blendshapes.f32")),
        ((LANDMARK_COUNT, 3), (BLENDSHAPE_COUNT,)),
    )
    wanted = [4 * count * prod(shape) for shape in shapes]  # bytes
    if any(not path.exists() or path.stat().st_size < size for path, size in zip(paths, wanted, strict=True)):
        kept, count = None, 0
    files = tuple(RowFile(path, shape, count) for path, shape in zip(paths, shapes, strict=True))
    follower = FaceFollower(landmarker, all_sizes=all_sizes, files=files)
    if kept is not None:
        restore(follower, kept.tensors, kept.config)
    return follower


def _assemble(
    parts: list[Tracklet],
    follower: FaceFollower,
    times: np.ndarray,
    frame_size: tuple[int, int],
    source: str,
) -> FaceTrack:
    shot = np.array(follower.shots, np.int64)
    number = np.full(len(times), -1, np.int64)
    done = 0
    for part in parts:
        own = part.landmarks.numbers if follower.files else np.arange(done, done + len(part.frames))
        number[part.frames] = own
        done += len(part.frames)
    rows = follower.files
    if rows is None:
        lists = (
            [row for part in parts for row in part.landmarks],
            [row for part in parts for row in part.blendshapes],
        )
        rows = RowList(lists[0], (LANDMARK_COUNT, 3)), RowList(lists[1], (BLENDSHAPE_COUNT,))
    landmarks, blendshapes = (TrackRows(file, number) for file in rows)
    status = frame_status(parts, follower.tracklets, shot, landmarks, frame_size)
    gaps = _gaps(status, np.sort(np.concatenate([part.frames for part in parts])))
    for values in (landmarks, blendshapes):
        values.bridge(*gaps)
    status = name_glimpses(status, shot, follower.glimpses)
    if follower.files is None:
        landmarks, blendshapes = np.asarray(landmarks), np.asarray(blendshapes)
    return FaceTrack(landmarks, blendshapes, status, shot, times, frame_size, source)


def _gaps(status: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames where the face was hidden between two readings: their numbers, the readings before and after,
    and how near the latter is."""
    hidden = np.isin(status, (FrameStatus.COVERED, FrameStatus.SIDE))
    gaps = np.setdiff1d(np.flatnonzero(hidden), read)
    after = np.searchsorted(read, gaps)
    weight = ((gaps - read[after - 1]) / (read[after] - read[after - 1])).astype(np.float32)
    return gaps, read[after - 1], read[after], weight


def _refuse_tiny(track: FaceTrack, parts: list[Tracklet]) -> None:
    shown = track.status[np.concatenate([p.frames for p in parts])]
    if (shown == FrameStatus.TINY).all():
        largest = max(max(p.size) for p in parts)
        raise FaceError(
            f"the face is too small: {largest:.0f} pixels across at its largest, expected at least "
            f"{MIN_FACE_PIXELS}; "
            "use a video of a higher resolution or a closer shot."
        )
