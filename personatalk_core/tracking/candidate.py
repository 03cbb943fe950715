"""One person followed through one shot: the readings so far, where to look next, and what the face looks like."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np

from .landmarks import LIP_MIDDLES, FaceReading
from .look import RememberedLook, look_distance
from .reading_rows import RowsInFile

CROP_MARGIN = 1.5  # side of the crop that is read, over the longer side of the face
HOLD_SHIFT = 0.04  # of the crop: the crop stands still until the face has moved this far (steadier landmarks)
HOLD_ZOOM = 0.08
SAME_PLACE = 0.25  # of the face
SAME_SIZE = 0.12  # logarithm of the ratio
NEXT_LOOK = 0.16  # look distance of neighbouring frames: 19 of 20 clips of the corpus stay below 0.14, another person jumps by 0.2 or more
USUAL_LOOK = 0.4  # look distance that counts as much as a face at the edge of where it can be


@dataclass(eq=False)
class Candidate:
    """A face followed within a shot. Lists run in parallel, one entry a frame it was read in.

    frames: frame numbers, rising.  landmarks (478, 3), blendshapes (52,), turn (degrees), size (pixels) of
    each.  look_change: how much the lower face differs from what it looked like before, 0 not at all.
    box: the square that is read next (centre x, centre y, side).  colours: of the last reading.
    """

    shot: int
    frames: array = field(default_factory=lambda: array("q"))
    landmarks: list[np.ndarray] | RowsInFile = field(default_factory=list)
    blendshapes: list[np.ndarray] | RowsInFile = field(default_factory=list)
    turn: array = field(default_factory=lambda: array("d"))
    size: array = field(default_factory=lambda: array("d"))
    look_change: array = field(default_factory=lambda: array("d"))
    colours: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    look: RememberedLook = field(default_factory=RememberedLook)
    box: tuple[float, float, float] = (0.0, 0.0, 1.0)
    centre: np.ndarray = field(default_factory=lambda: np.zeros(2))
    extent: float = 1.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add(self, frame_number: int, reading: FaceReading) -> None:
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
        self.look_change.append(self.look.add(reading.colours, reading.landmarks, reading.pose))
        self.centre, self.extent, self.colours = reading.centre, reading.extent, reading.colours
        self._hold_crop()

    def _hold_crop(self) -> None:
        x, y, side = self.box
        wanted = self.extent * CROP_MARGIN
        moved = np.abs(self.centre - (x, y)).max() > HOLD_SHIFT * side
        if len(self.frames) == 1 or moved or abs(wanted / side - 1) > HOLD_ZOOM:
            self.box = (float(self.centre[0]), float(self.centre[1]), wanted)

    def expected_centre(self, frame_number: int) -> np.ndarray:
        """(2,) where the face should be in a frame: the last speed goes on for a few frames, fading."""
        passed = frame_number - self.frames[-1]
        return self.centre + self.velocity * (1 - 0.8**passed) / 0.2 * 0.8

    def mismatch(self, frame_number: int, reading: FaceReading) -> float:
        """How unlikely the reading is this person: 0 sure, infinite refused. Place, size and look count."""
        passed = frame_number - self.frames[-1]
        distance = float(np.linalg.norm(reading.centre - self.expected_centre(frame_number))) / max(self.extent, reading.extent)
        place = distance / min(0.35 + 0.1 * passed, 1.5)
        zoom = abs(np.log(reading.extent / self.extent)) / min(0.3 + 0.03 * passed, 0.7)
        if max(place, zoom) > 1:
            return float("inf")
        return max(place, zoom) + self.look.distance(reading.colours, reading.pose) / USUAL_LOOK

    def continues(self, frame_number: int, reading: FaceReading) -> bool:
        """The reading is surely this person in the same shot: hardly moved, of the same size, looking the same."""
        distance = float(np.linalg.norm(reading.centre - self.expected_centre(frame_number)))
        same_size = abs(np.log(reading.extent / self.extent)) < SAME_SIZE
        return distance < SAME_PLACE * self.extent and same_size and look_distance(self.colours, reading.colours) < NEXT_LOOK

    @property
    def openings(self) -> np.ndarray:
        """(T,) distance of the inner lips over the face's size, of the frames it was read in."""
        top, bottom = LIP_MIDDLES
        gaps = np.array([np.linalg.norm(p[top] - p[bottom]) for p in self.landmarks])
        return gaps / np.array(self.size)
