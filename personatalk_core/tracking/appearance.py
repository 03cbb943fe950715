"""What a face looks like: how far the head is turned, and the colours of its skin.

The turn comes from how the landmarks are foreshortened. (The landmarker's pose matrix trusts its guessed
depth and says about 35 degrees of a head turned by 60; where the points lie in the picture says more.) The
colours at the landmarks, remembered for each turn, tell people apart and notice what lies before a mouth.
"""

from __future__ import annotations

import cv2
import numpy as np

# A mean face's points that do not move with expression: eye corners, bridge and tip of the nose, temples,
# sides of the jaw, forehead. Unit: distance of the outer eye corners; x right, y down, z nearer. Measured
# over the corpus's most frontal frames.
RIGID_LANDMARKS = (33, 263, 133, 362, 168, 6, 4, 2, 234, 454, 127, 356, 132, 361, 10, 9)
RIGID_POINTS = np.array(
    [
        [-0.497, -0.369, -0.113],
        [0.497, -0.369, -0.113],
        [-0.193, -0.354, -0.055],
        [0.193, -0.354, -0.055],
        [0.000, -0.400, 0.133],
        [0.000, -0.310, 0.185],
        [0.000, -0.012, 0.406],
        [0.000, 0.137, 0.208],
        [-0.784, -0.149, -0.719],
        [0.784, -0.149, -0.719],
        [-0.788, -0.313, -0.672],
        [0.788, -0.313, -0.672],
        [-0.743, 0.204, -0.685],
        [0.743, 0.204, -0.685],
        [0.000, -0.940, 0.065],
        [0.000, -0.610, 0.146],
    ]
)
_CENTRED = RIGID_POINTS - RIGID_POINTS.mean(0)
_FIT = np.linalg.pinv(_CENTRED)  # (3, K)


SKIN_COUNT = 468  # the landmarks on the skin and lips; the ten of the irises move with the gaze
# teeth or lips, as one speaks
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
FACE_OVAL = tuple(
    int(number)
    for number in (
        "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 "
        "172 58 132 93 234 127 162 21 54 103 67 109"
    ).split()
)
SAMPLE_SIZE = 64  # pixels of the crop that colours are taken from: details finer than that are not compared
POSE_STEP = 12.0  # degrees: colours are remembered for each such step of yaw and pitch
LEARNING_RATE = 0.05  # how fast remembered colours follow the face
# a change of the lower face beyond which it is learned only slowly, for it may be a hand or a microphone
OCCLUDED_CHANGE = 0.4
OCCLUDED_RATE = 0.005
# largest change of brightness of the whole face that is taken for the camera's or the light's
MAX_EXPOSURE_CHANGE = 25.0
MAX_CHANGE = 60.0  # 8-bit values; more counts as this
CHANGE_QUANTILE = 0.7
MIN_CONTRAST = 30.0  # 8-bit values: a face flatter than this is compared as if it were not

# appearance distance below which two faces are one person: on the corpus 9 of 10 true pairs, 1 of 20 false
SAME_APPEARANCE = 0.38

_OUTSIDE_LIPS = np.setdiff1d(np.arange(SKIN_COUNT), INNER_LIPS)
_INSIDE = np.setdiff1d(_OUTSIDE_LIPS, FACE_OVAL)


def head_pose(landmarks: np.ndarray) -> tuple[float, float]:
    """Where a face looks.

    Args:
        landmarks: (478, 2 or more), x and y in pixels, y down.
    Returns:
        yaw (positive to the image's right) and pitch (positive up) of the forward axis, degrees. About right
        up to 40; a head truly turned by 60 reads as 50 to 58, since the hidden side's landmarks are guesses.
    """
    points = landmarks[list(RIGID_LANDMARKS), :2]
    camera = (_FIT @ (points - points.mean(0))).T  # (2, 3) scaled orthographic, not yet a rotation
    left, _, right = np.linalg.svd(camera, full_matrices=False)
    x_axis, y_axis = left @ right
    forward = (x_axis[2], y_axis[2], np.cross(x_axis, y_axis)[2])
    return float(np.degrees(np.arctan2(forward[0], forward[2]))), float(
        np.degrees(-np.arcsin(np.clip(forward[1], -1.0, 1.0)))
    )


def landmark_colours(crop: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Colours at the landmarks of the skin.

    Args:
        crop:   (S, S, 3) uint8 RGB.
        points: (478, 2) in crop pixels.
    Returns:
        (468, 3) float32, 0 to 255.
    """
    small = cv2.blur(cv2.resize(crop, (SAMPLE_SIZE, SAMPLE_SIZE), interpolation=cv2.INTER_AREA), (3, 3))
    pixel = np.clip((points[:SKIN_COUNT] * (SAMPLE_SIZE / len(crop))).astype(int), 0, SAMPLE_SIZE - 1)
    return small[pixel[:, 1], pixel[:, 0]].astype(np.float32)


def appearance_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How differently two faces are coloured: 0 alike; below 0.3 mostly one person, two people mostly 0.5 and
    more.

    One minus the correlation of the colours, each channel's mean removed, plus a little for the change of the
    mean.
    """
    a, b = a[_OUTSIDE_LIPS], b[_OUTSIDE_LIPS]
    mean_a, mean_b = a.mean(0), b.mean(0)
    a, b = a - mean_a, b - mean_b
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    pattern = 1.0 - (float((a * b).sum()) / norm if norm > 1e-6 else 0.0)
    return pattern + float(np.abs(mean_a - mean_b).mean()) / 128.0


def lower_face(landmarks: np.ndarray) -> np.ndarray:
    """Which landmarks lie below the nose, the face's edge and the mouth's inside left out. landmarks (478, 3)
    -> indices."""
    eyes, chin = landmarks[[33, 263]].mean(0), landmarks[152]
    axis = chin - eyes
    height = (landmarks[_INSIDE] - eyes) @ axis / (axis @ axis)
    return _INSIDE[height > 0.5]


def lower_face_change(before: np.ndarray, now: np.ndarray, lower: np.ndarray) -> float:
    """How much the lower face's colours changed, over their contrast, once the whole face's change of
    brightness is removed.

    The change that 70 % of the landmarks stay below: a microphone hides a third of them, while a word changes
    fewer.
    """
    upper = np.setdiff1d(_INSIDE, lower)
    shift = np.clip(np.median(now[upper] - before[upper], axis=0), -MAX_EXPOSURE_CHANGE, MAX_EXPOSURE_CHANGE)
    contrast = max(MIN_CONTRAST, 2.0 * float(before[lower].std(0).mean()))
    change = np.minimum(np.abs(now - before - shift)[lower].mean(1), MAX_CHANGE)
    return float(np.quantile(change, CHANGE_QUANTILE)) / contrast


class AppearanceMemory:
    """The colours of one person's face so far, one set for each step of the head's turn.

    colours: steps of yaw and pitch -> (468, 3) float32, 0 to 255.
    """

    def __init__(self) -> None:
        self.colours: dict[tuple[int, int], np.ndarray] = {}

    def _nearest(self, pose: tuple[float, float]) -> tuple[int, int]:
        """The known step nearest to a turn; pose is yaw and pitch in degrees."""
        step = _pose_step(pose)
        return min(self.colours, key=lambda other: (other[0] - step[0]) ** 2 + (other[1] - step[1]) ** 2)

    def add(self, colours: np.ndarray, landmarks: np.ndarray, pose: tuple[float, float]) -> float:
        """Take in a frame; returns how much its lower face differs from what was remembered: 0 not at all."""
        step = _pose_step(pose)
        if not self.colours:
            self.colours[step] = colours
            return 0.0
        before = self.colours[self._nearest(pose)]
        change = lower_face_change(before, colours, lower_face(landmarks))
        rate = LEARNING_RATE if change < OCCLUDED_CHANGE else OCCLUDED_RATE
        if step in self.colours or change < OCCLUDED_CHANGE:
            known = self.colours.get(step, colours)
            self.colours[step] = (1 - rate) * known + rate * colours
        return change

    def distance(self, colours: np.ndarray, pose: tuple[float, float]) -> float:
        """How unlike this person a reading is (see :func:`appearance_distance`)."""
        return appearance_distance(self.colours[self._nearest(pose)], colours)

    def distance_to(self, other: "AppearanceMemory") -> float:
        """How unlike two people are: the smallest distance of poses at most one step apart, else of the most
        frontal ones."""
        similar_poses = [
            appearance_distance(a, b)
            for p, a in self.colours.items()
            for q, b in other.colours.items()
            if abs(p[0] - q[0]) <= 1 and abs(p[1] - q[1]) <= 1
        ]
        if similar_poses:
            return min(similar_poses)
        return appearance_distance(self.colours[self._nearest((0, 0))], other.colours[other._nearest((0, 0))])


def _pose_step(pose: tuple[float, float]) -> tuple[int, int]:
    return round(pose[0] / POSE_STEP), round(pose[1] / POSE_STEP)
