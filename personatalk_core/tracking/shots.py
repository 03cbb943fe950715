"""Hard cuts, found as the frames stream by. Knows nothing of faces."""

from __future__ import annotations

from collections import deque
from enum import IntEnum

import cv2
import numpy as np

THUMBNAIL = (48, 27)  # width, height
MIN_CHANGE = 12.0  # mean absolute change of 8-bit values below which no cut is called
# correlation of the two pictures, brightness and contrast removed, below which there is a cut: a flash or a
# fade keeps it high
CUT_CORRELATION = 0.75
# between the two: perhaps another person before the same wall; the faces must tell
DOUBTFUL_CORRELATION = 0.9
MIN_CHANGED_AREA = 0.4  # of the picture: something large that moves before the camera changes less
CHANGED_PIXEL = 15.0  # 8-bit values, in any channel
# a cut changes this many times more than the median of the last frames (a fast pan does not)
TIMES_MEDIAN = 3.5
HISTORY = 12  # frames


class Continuity(IntEnum):
    """How a frame follows the one before."""

    GOES_ON = 0
    DOUBTFUL = 1
    CUT = 2


class CutDetector:
    """Feed frames in order; each call says whether a new shot begins with this frame."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._changes: deque[float] = deque(maxlen=HISTORY)

    @property
    def state(self) -> tuple[np.ndarray | None, list[float]]:
        """What the next judgement depends on: the last thumbnail, and the last changes."""
        return self._last, list(self._changes)

    @state.setter
    def state(self, state: tuple[np.ndarray | None, list[float]]) -> None:
        self._last = state[0]
        self._changes = deque(state[1], maxlen=HISTORY)

    def judge(self, frame: np.ndarray) -> Continuity:
        """frame (H, W, 3) uint8 -> how it continues the frame before; the first frame always goes on."""
        step = max(1, min(frame.shape[0] // (THUMBNAIL[1] * 4), frame.shape[1] // (THUMBNAIL[0] * 4)))
        thumbnail = cv2.resize(
            np.ascontiguousarray(frame[::step, ::step]), THUMBNAIL, interpolation=cv2.INTER_AREA
        ).astype(np.float32)
        last, self._last = self._last, thumbnail
        if last is None:
            return Continuity.GOES_ON
        difference = np.abs(thumbnail - last)
        change = float(difference.mean())
        median_change = float(np.median(self._changes)) if self._changes else 0.0
        large_change = (
            change > MIN_CHANGE
            and change > TIMES_MEDIAN * median_change
            and float((difference.max(-1) > CHANGED_PIXEL).mean()) > MIN_CHANGED_AREA
        )
        correlation = picture_correlation(thumbnail, last) if large_change else 1.0
        if correlation < CUT_CORRELATION:
            self._changes.clear()
            return Continuity.CUT
        self._changes.append(change)
        return Continuity.DOUBTFUL if correlation < DOUBTFUL_CORRELATION else Continuity.GOES_ON


def picture_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two pictures over pixels and channels, each channel's mean removed; 0 when one of them
    is flat."""
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm > 1e-6 else 0.0
