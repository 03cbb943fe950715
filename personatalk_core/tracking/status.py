"""What each frame holds of the face that was chosen."""

from __future__ import annotations

import itertools

import numpy as np
from scipy.ndimage import median_filter

from ..config import MIN_FACE_PIXELS
from ..types import FrameRows, FrameStatus
from .choose import is_face
from .tracklet import Tracklet

# turned further than this from the camera (as head_pose reads it: a true 60 to 65), the far half of the mouth
# is hidden
SIDE_DEGREES = 55.0
# a face lost while turned at least this far was lost because it turned on, not because something covered it
TURNING_AWAY = 40.0
# Change of the lower face's colours that says something lies before it: at least OCCLUSION_CHANGE, and
# OCCLUSION_RISE
# above the clip's usual change. On 14 clips bare faces reached 0.59 (one that grimaces 1.0, its usual 0.5);
# microphones and cups began at 0.8, those that leave the upper lip free at 0.6, painted skin-coloured hands
# at 0.36: not all hands are noticed (a real one on the corpus is, at 0.8 to 1.2).
OCCLUSION_CHANGE = 0.68
OCCLUSION_RISE = 0.42
OCCLUSION_HYSTERESIS = 0.5  # of the threshold: a mouth stays occluded until the change falls below this
GLIMPSE_REACH = 25  # frames between two glimpses of an unreadable face that are one stretch of it
LIPS = (61, 291, 0, 17, 13, 14)  # corners and middles


def frame_status(
    chosen: list[Tracklet],
    everybody: list[Tracklet],
    shot: np.ndarray,
    landmarks: FrameRows,
    frame_size: tuple[int, int],
) -> np.ndarray:
    """Name every frame.

    Args:
        chosen:     tracklets of the chosen person: one a shot, or several that follow each other in it.
        everybody:  tracklets of all people.
        shot:       (T,) number of the shot.
        landmarks:  (T, 478, 3) image pixels of the chosen person; zeros where not read.
        frame_size: (height, width).
    Returns:
        (T,) uint8 of FrameStatus.
    """
    status = np.full(len(shot), FrameStatus.NO_FACE, np.uint8)
    chosen_shots = {tracklet.shot for tracklet in chosen}
    for other in everybody:
        if other.shot not in chosen_shots and is_face(other):
            status[shot == other.shot] = FrameStatus.CUT
    for tracklet in chosen:
        status[tracklet.frames] = _read_status(tracklet, frame_size)
    turn = {frame: turn for t in chosen for frame, turn in zip(t.frames, t.turn, strict=True)}
    read = sorted(turn)
    for before, after in itertools.pairwise(read):
        same_shot = shot[before] == shot[after]
        if (
            after - before > 1
            and same_shot
            and _inside(landmarks[before], frame_size)
            and _inside(landmarks[after], frame_size)
        ):
            turned = max(turn[before], turn[after]) > TURNING_AWAY
            status[before + 1 : after] = FrameStatus.SIDE if turned else FrameStatus.COVERED
    return status


def _read_status(tracklet: Tracklet, frame_size: tuple[int, int]) -> np.ndarray:
    """(n,) status of the frames in which the face was read."""
    turn, size, change = (
        np.array(tracklet.turn),
        np.array(tracklet.size),
        np.array(tracklet.appearance_change),
    )
    turn = median_filter(turn, 5, mode="nearest")
    status = np.full(len(turn), FrameStatus.OK, np.uint8)
    status[_occluded(change)] = FrameStatus.COVERED
    status[[not _mouth_inside(points, frame_size) for points in tracklet.landmarks]] = FrameStatus.COVERED
    status[turn > SIDE_DEGREES] = FrameStatus.SIDE
    status[size < MIN_FACE_PIXELS] = FrameStatus.TINY
    return status


def mark_glimpses(status: np.ndarray, shot: np.ndarray, glimpses: list[int]) -> np.ndarray:
    """Frames without a reading in which an unreadable face was glimpsed become SIDE. status, shot (T,) ->
    status (T,)."""
    status = status.copy()
    for first, last in zip(glimpses, [*glimpses[1:], glimpses[-1]] if glimpses else [], strict=True):
        if last - first > GLIMPSE_REACH or shot[last] != shot[first]:
            last = first
        stretch = status[first : last + 1]  # a view
        stretch[stretch == FrameStatus.NO_FACE] = FrameStatus.SIDE
    return status


def _occluded(change: np.ndarray) -> np.ndarray:
    """(T,) bool: something lies before the mouth. change (T,): of the lower face's colours."""
    smooth = median_filter(change, 3, mode="nearest")  # one blurred frame is not a hand
    threshold = max(OCCLUSION_CHANGE, float(np.median(change)) + OCCLUSION_RISE)
    above = smooth > OCCLUSION_HYSTERESIS * threshold
    runs = np.cumsum(np.diff(above, prepend=False) & above) * above  # number of the run of each frame, 0 none
    return np.isin(runs, np.setdiff1d(runs[smooth > threshold], 0))


def _inside(points: np.ndarray, frame_size: tuple[int, int]) -> bool:
    """The middle of the face lies inside the frame."""
    x, y = points[:, :2].mean(0)
    return bool(0 <= x <= frame_size[1] and 0 <= y <= frame_size[0])


def _mouth_inside(points: np.ndarray, frame_size: tuple[int, int]) -> bool:
    """All of the mouth lies inside the frame; the chin may be cut off, as in many close-ups."""
    lips = points[list(LIPS), :2]
    return bool((lips >= 0).all() and (lips <= (frame_size[1], frame_size[0])).all())
