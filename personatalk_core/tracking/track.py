"""A video's frames -> the track of one face: landmarks, status and shot of every frame."""

from __future__ import annotations

from contextlib import nullcontext
from math import prod
from pathlib import Path

import numpy as np

from ..checks import check_shape
from ..config import MIN_FACE_PIXELS, FaceChoice
from ..errors import FaceError, ShapeError
from ..types import Cache, ClipFrames, FaceTrack, FrameStatus, OnProgress
from .choose import choose_tracklet, link_tracklets
from .follow import FaceFollower
from .landmarks import TASK_FILE, FaceLandmarker
from .status import frame_status, mark_glimpses
from .tracklet import ROW_SHAPES, RowFile, Tracklet, TrackRows

STATE = "tracking"
# The state is kept after this many frames, but never before one in KEEP_SHARE of the frames so far are new,
# for it grows with the clip
KEEP_EVERY = 250
KEEP_SHARE = 20


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
    choice = choice or FaceChoice("auto")
    if isinstance(landmarker, FaceLandmarker):
        opened = nullcontext(landmarker)
    else:
        opened = FaceLandmarker(landmarker or TASK_FILE)
    with opened as reader:
        follower = _follower(reader, choice.kind in ("index", "point"), cache)
        _stream(clip, follower, on_progress, cache)
    _refuse_nothing(clip, follower)
    chosen = link_tracklets(choose_tracklet(follower.tracklets, choice), follower.tracklets)
    track = _assemble(chosen, follower, clip)
    _refuse_tiny(track, chosen)
    return track


def _follower(landmarker: FaceLandmarker, all_sizes: bool, cache: Cache | None) -> FaceFollower:
    """A follower at the beginning, or where an earlier run kept its state."""
    if cache is None:
        return FaceFollower(landmarker, all_sizes=all_sizes)
    saved = cache.load(STATE)
    count = 0 if saved is None else len(saved.tensors["frames"])
    paths = cache.path("landmarks.f32"), cache.path("blendshapes.f32")
    sizes = [4 * count * prod(shape) for shape in ROW_SHAPES]  # bytes
    if any(not path.exists() or path.stat().st_size < size for path, size in zip(paths, sizes, strict=True)):
        saved, count = None, 0
    landmarks, blendshapes = (RowFile(*file, count) for file in zip(paths, ROW_SHAPES, strict=True))
    follower = FaceFollower(landmarker, all_sizes=all_sizes, rows=(landmarks, blendshapes))
    if saved is not None:
        follower.restore(saved.tensors, saved.config)
    return follower


def _stream(
    clip: ClipFrames, follower: FaceFollower, on_progress: OnProgress | None, cache: Cache | None
) -> None:
    """Feed the follower every frame that it does not know yet."""
    saved = len(follower.shots)
    for number, frame in enumerate(clip.frames(saved), start=saved):
        check_shape(f"frame {number}", frame, *clip.frame_size, 3)
        if frame.dtype != np.uint8:
            raise ShapeError(f"frame {number} is {frame.dtype} but expected uint8 RGB.")
        follower.step(frame)
        if cache is not None and number + 1 - saved >= max(cache.window or KEEP_EVERY, saved // KEEP_SHARE):
            cache.save(STATE, *follower.state())
            saved = number + 1
        if on_progress is not None:
            on_progress(number + 1, len(clip.times))


def _refuse_nothing(clip: ClipFrames, follower: FaceFollower) -> None:
    count = len(clip.times)
    if len(follower.shots) != count:
        raise ShapeError(
            f"{len(follower.shots)} frames came but {count} frame times; expected one time a frame."
        )
    if not follower.tracklets:
        glimpses = follower.glimpses
        found = (
            f"a face is seen in frame {glimpses[0]} but can be read in none"
            if glimpses
            else "no face was found in any"
        )
        raise FaceError(
            f"{found} of the {count} frames; use a video in which a face is seen from the front, at least "
            f"{MIN_FACE_PIXELS} pixels wide and not covered."
        )


def _assemble(chosen: list[Tracklet], follower: FaceFollower, clip: ClipFrames) -> FaceTrack:
    """The chosen tracklets as one track of every frame."""
    shot = np.array(follower.shots, np.int64)
    number = np.full(len(shot), -1, np.int64)
    for tracklet in chosen:
        number[tracklet.frames] = tracklet.landmarks.numbers
    landmarks, blendshapes = (TrackRows(store, number) for store in follower.rows)
    status = frame_status(chosen, follower.tracklets, shot, landmarks, clip.frame_size)
    gaps = _gaps(status, np.sort(np.concatenate([tracklet.frames for tracklet in chosen])))
    for rows in (landmarks, blendshapes):
        rows.interpolate(*gaps)
    status = mark_glimpses(status, shot, follower.glimpses)
    values = landmarks, blendshapes
    if not isinstance(follower.rows[0], RowFile):
        values = np.asarray(landmarks), np.asarray(blendshapes)
    times = np.asarray(clip.times, np.float64)
    return FaceTrack(*values, status, shot, times, clip.frame_size, clip.source)


def _gaps(status: np.ndarray, read: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Frames where the face was hidden between two readings: their numbers, the readings before and after,
    and the weight of the latter. status (T,); read: frames with a reading, rising."""
    hidden = np.isin(status, (FrameStatus.COVERED, FrameStatus.SIDE))
    gaps = np.setdiff1d(np.flatnonzero(hidden), read)
    after = np.searchsorted(read, gaps)
    weight = ((gaps - read[after - 1]) / (read[after] - read[after - 1])).astype(np.float32)
    return gaps, read[after - 1], read[after], weight


def _refuse_tiny(track: FaceTrack, chosen: list[Tracklet]) -> None:
    status = track.status[np.concatenate([tracklet.frames for tracklet in chosen])]
    if (status == FrameStatus.TINY).all():
        largest = max(max(tracklet.size) for tracklet in chosen)
        raise FaceError(
            f"the face is too small: {largest:.0f} pixels across at its largest, expected at least "
            f"{MIN_FACE_PIXELS}; use a video of a higher resolution or a closer shot."
        )
