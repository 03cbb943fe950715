"""One person followed through one shot: the readings so far, where to look next, and what the face looks like."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from .landmarks import INNER_LIPS, FaceReading

CROP_MARGIN = 1.5  # side of the crop that is read, over the longer side of the face
HOLD_SHIFT = 0.04  # of the crop: the crop stands still until the face has moved this far (steadier landmarks)
HOLD_ZOOM = 0.08
PATCH = 24  # pixels of the aligned picture of a face
PATCH_LANDMARKS = (33, 263, 152)  # outer eye corners, chin ...
PATCH_CORNERS = np.array([[4.0, 6.0], [20.0, 6.0], [12.0, 23.0]], np.float32)  # ... and where they lie in the patch
LOWER_PATCH = slice(10, PATCH)
LOOK_RATE = 0.05  # how fast the remembered look follows the face
LOOK_TURN = 40.0  # degrees; beyond, the aligned picture shows too little of the face to compare


def aligned_patch(frame: np.ndarray, reading: FaceReading) -> np.ndarray:
    """The face at PATCH x PATCH pixels, eyes and chin in fixed places. Returns (PATCH, PATCH, 3) float32."""
    source = reading.landmarks[list(PATCH_LANDMARKS), :2]
    low, high = np.floor(source.min(0) - 0.5 * reading.extent).astype(int), np.ceil(source.max(0) + 0.5 * reading.extent).astype(int)
    low, high = np.clip(low, 0, None), np.minimum(high, (frame.shape[1], frame.shape[0]))
    if (high - low).min() < 2:
        return np.zeros((PATCH, PATCH, 3), np.float32)
    part = frame[low[1] : high[1], low[0] : high[0]]
    shrink = min(1.0, 3 * PATCH / float((high - low).max()))
    if shrink < 1:
        part = cv2.resize(part, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    ratio = np.array([part.shape[1], part.shape[0]]) / (high - low)
    matrix = cv2.getAffineTransform(((source - low) * ratio - 0.5).astype(np.float32), PATCH_CORNERS - 0.5)
    return cv2.warpAffine(part, matrix, (PATCH, PATCH), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


@dataclass(eq=False)
class Candidate:
    """A face followed within a shot. Lists run in parallel, one entry a frame it was read in.

    frames: frame numbers, rising.  landmarks (478, 3), blendshapes (52,), turn (degrees), size (pixels) of
    each.  look_change: how much the lower face differs from its remembered look, about 0 to 2, NaN where not comparable.
    box: the square that is read next (centre x, centre y, side).  look: the remembered aligned picture.
    """

    shot: int
    frames: list[int] = field(default_factory=list)
    landmarks: list[np.ndarray] = field(default_factory=list)
    blendshapes: list[np.ndarray] = field(default_factory=list)
    turn: list[float] = field(default_factory=list)
    size: list[float] = field(default_factory=list)
    look_change: list[float] = field(default_factory=list)
    box: tuple[float, float, float] = (0.0, 0.0, 1.0)
    look: np.ndarray | None = None
    centre: np.ndarray = field(default_factory=lambda: np.zeros(2))
    extent: float = 1.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add(self, frame_number: int, reading: FaceReading, patch: np.ndarray) -> None:
        """Take a reading as this person's, and move the crop if the face has moved."""
        if self.frames:
            passed = frame_number - self.frames[-1]
            step = (reading.centre - self.centre) / passed
            self.velocity = 0.5 * self.velocity + 0.5 * step if passed <= 3 else np.zeros(2)
        self.frames.append(frame_number)
        self.landmarks.append(reading.landmarks)
        self.blendshapes.append(reading.blendshapes)
        self.turn.append(reading.turn)
        self.size.append(reading.size)
        self.centre, self.extent = reading.centre, reading.extent
        self._hold_crop()
        self._compare_look(reading, patch)

    def _hold_crop(self) -> None:
        x, y, side = self.box
        wanted = self.extent * CROP_MARGIN
        moved = np.abs(self.centre - (x, y)).max() > HOLD_SHIFT * side
        if len(self.frames) == 1 or moved or abs(wanted / side - 1) > HOLD_ZOOM:
            self.box = (float(self.centre[0]), float(self.centre[1]), wanted)

    def _compare_look(self, reading: FaceReading, patch: np.ndarray) -> None:
        if reading.turn > LOOK_TURN:
            self.look_change.append(float("nan"))
        elif self.look is None:
            self.look = patch
            self.look_change.append(0.0)
        else:
            self.look_change.append(look_distance(self.look[LOWER_PATCH], patch[LOWER_PATCH]))
            self.look = (1 - LOOK_RATE) * self.look + LOOK_RATE * patch

    def expected_centre(self, frame_number: int) -> np.ndarray:
        """(2,) where the face should be in a frame: the last speed goes on for a few frames, fading."""
        passed = frame_number - self.frames[-1]
        return self.centre + self.velocity * (1 - 0.8**passed) / 0.2 * 0.8

    def mismatch(self, frame_number: int, reading: FaceReading, patch: np.ndarray) -> float:
        """How unlikely the reading is this person: 0 sure, above 1 refused. Place, size and look count."""
        passed = frame_number - self.frames[-1]
        distance = float(np.linalg.norm(reading.centre - self.expected_centre(frame_number))) / max(self.extent, reading.extent)
        place = distance / min(0.35 + 0.1 * passed, 1.5)
        zoom = abs(np.log(reading.extent / self.extent)) / min(0.3 + 0.03 * passed, 0.7)
        look = 0.0
        if self.look is not None and reading.turn <= LOOK_TURN:
            look = look_distance(self.look, patch) / 1.2
        return max(place, zoom) * 0.6 + 0.4 * look if max(place, zoom) <= 1 else float("inf")

    @property
    def openings(self) -> np.ndarray:
        """(T,) distance of the inner lips over the face's size, of the frames it was read in."""
        top, bottom = INNER_LIPS
        gaps = np.array([np.linalg.norm(p[top] - p[bottom]) for p in self.landmarks])
        return gaps / np.array(self.size)


def look_distance(a: np.ndarray, b: np.ndarray) -> float:
    """How differently two aligned pictures look: 1 - correlation of their shapes plus the change of mean colour, about 0 to 2."""
    mean_a, mean_b = a.mean((0, 1)), b.mean((0, 1))
    a, b = a - mean_a, b - mean_b
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    shape = 1.0 - (float((a * b).sum()) / norm if norm > 1e-6 else 0.0)
    return shape + float(np.abs(mean_a - mean_b).mean()) / 64.0
