"""How far a head is turned, from how its landmarks are foreshortened.

The landmarker's own pose matrix trusts its guessed depth and says about 35 degrees of a head turned by 60; where the points lie in the
picture says more.
"""

from __future__ import annotations

import numpy as np

# A mean face's points that do not move with expression: eye corners, bridge and tip of the nose, temples, sides of the jaw, forehead.
# Unit: distance of the outer eye corners; x right, y down, z nearer. Measured over the corpus's most frontal frames.
RIGID_LANDMARKS = (33, 263, 133, 362, 168, 6, 4, 2, 234, 454, 127, 356, 132, 361, 10, 9)
RIGID_POINTS = np.array([
    [-0.497, -0.369, -0.113], [0.497, -0.369, -0.113], [-0.193, -0.354, -0.055], [0.193, -0.354, -0.055],
    [0.000, -0.400, 0.133], [0.000, -0.310, 0.185], [0.000, -0.012, 0.406], [0.000, 0.137, 0.208],
    [-0.784, -0.149, -0.719], [0.784, -0.149, -0.719], [-0.788, -0.313, -0.672], [0.788, -0.313, -0.672],
    [-0.743, 0.204, -0.685], [0.743, 0.204, -0.685], [0.000, -0.940, 0.065], [0.000, -0.610, 0.146],
])  # fmt: skip
_CENTRED = RIGID_POINTS - RIGID_POINTS.mean(0)
_FIT = np.linalg.pinv(_CENTRED)  # (3, K)


def head_pose(landmarks: np.ndarray) -> tuple[float, float]:
    """Where a face looks.

    Args:
        landmarks: (478, 2 or more), x and y in pixels, y down.
    Returns:
        yaw (positive to the image's right) and pitch (positive up) of the forward axis, degrees. About right up to
        40; a head truly turned by 60 reads as 50 to 58, since the hidden side's landmarks are guesses.
    """
    points = landmarks[list(RIGID_LANDMARKS), :2]
    camera = (_FIT @ (points - points.mean(0))).T  # (2, 3) scaled orthographic, not yet a rotation
    left, _, right = np.linalg.svd(camera, full_matrices=False)
    x_axis, y_axis = left @ right
    forward = (x_axis[2], y_axis[2], np.cross(x_axis, y_axis)[2])
    return float(np.degrees(np.arctan2(forward[0], forward[2]))), float(np.degrees(-np.arcsin(np.clip(forward[1], -1.0, 1.0))))
