"""One face followed within a shot: its readings, where it is expected next, and what it looks like.

Readings may lie on disk: a row of landmarks is 5.7 KB, an hour of one face 0.5 GB, too much for memory and
little for a disk. Rows of floats are appended while tracking and read back by number.
"""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from ..checks import check_finite
from .appearance import AppearanceMemory, appearance_distance
from .landmarks import BLENDSHAPE_COUNT, LANDMARK_COUNT, LIP_MIDDLES, FaceReading

ROW_SHAPES = ((LANDMARK_COUNT, 3), (BLENDSHAPE_COUNT,))  # landmarks and blendshapes of one reading
BLOCK = 256  # rows read at once

CROP_MARGIN = 1.5  # side of the crop that is read, over the longer side of the face
HOLD_SHIFT = 0.04  # of the crop: the crop stands still until the face has moved this far (steadier landmarks)
HOLD_ZOOM = 0.08
SAME_PLACE = 0.25  # of the face
SAME_SIZE = 0.12  # logarithm of the ratio
# appearance distance of neighbouring frames: 19 of 20 clips of the corpus stay below 0.14, another person
# jumps by 0.2 or more
NEXT_APPEARANCE = 0.16
USUAL_APPEARANCE = 0.4  # appearance distance that counts as much as a face at the edge of where it can be


class RowStore(Protocol):
    """Rows (N, *shape) float32 that are appended and read by number."""

    shape: tuple[int, ...]

    def append(self, row: np.ndarray) -> int:
        """Keep a row; returns its number."""
        ...

    def read(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, *shape) float32 of the rows of these numbers."""
        ...


class RowList:
    """Rows in memory."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._rows: list[np.ndarray] = []

    def append(self, row: np.ndarray) -> int:
        """Keep a row; returns its number."""
        self._rows.append(row)
        return len(self._rows) - 1

    def read(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, *shape) float32 of the rows of these numbers."""
        if not len(numbers):
            return np.zeros((0, *self.shape), np.float32)
        return np.stack([self._rows[int(k)] for k in numbers])


class RowFile:
    """Rows in a file. ``count`` rows of what lies there are kept, the rest (of a killed run) is cut off."""

    def __init__(self, path: Path, shape: tuple[int, ...], count: int = 0) -> None:
        self.shape, self.count = shape, count
        self._row_bytes = 4 * int(np.prod(shape))
        Path(path).touch()
        self._file = Path(path).open("r+b", buffering=0)  # noqa: SIM115 (open as long as the track is read)
        self._file.truncate(count * self._row_bytes)

    def append(self, row: np.ndarray) -> int:
        """Keep a row; returns its number. Raises ShapeError for a row that is not finite."""
        check_finite("reading", row)
        self._file.seek(self.count * self._row_bytes)
        data = np.ascontiguousarray(row, np.float32).tobytes()
        if self._file.write(data) != len(data):
            raise OSError(errno.ENOSPC, "No space left on device")
        self.count += 1
        return self.count - 1

    def read(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n, *shape) float32 of the rows of these numbers."""
        numbers = np.asarray(numbers, np.int64)
        rows = np.empty((len(numbers), *self.shape), np.float32)
        start = 0
        while start < len(numbers):  # neighbouring rows in one piece
            end = start + 1
            while end < len(numbers) and numbers[end] == numbers[end - 1] + 1:
                end += 1
            self._file.seek(int(numbers[start]) * self._row_bytes)
            self._file.readinto(rows[start:end].data.cast("B"))
            start = end
        return rows

    def close(self) -> None:
        """Let the file go."""
        self._file.close()


class TrackletRows:
    """The rows of one tracklet among those of a store: a list of arrays that can be appended to."""

    def __init__(self, store: RowStore, numbers: Sequence[int] = ()) -> None:
        self._store = store
        self.numbers = array("q", numbers)

    def append(self, row: np.ndarray) -> None:
        """Keep a row."""
        self.numbers.append(self._store.append(row))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> np.ndarray:
        return self._store.read([self.numbers[place]])[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self.numbers), BLOCK):
            yield from self._store.read(self.numbers[start : start + BLOCK])


class TrackRows:
    """An array (T, *shape) of one face by frame, read by slices: rows that were read, straight lines between
    them where the face was hidden, and zeros elsewhere.

    Args:
        store:  gives rows by number.
        number: (T,) int64 of the row that belongs to each frame, -1 none.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, store: RowStore, number: np.ndarray) -> None:
        self._store, self._number = store, number
        self._interpolated: dict[
            int, tuple[int, int, np.float32]
        ] = {}  # frame -> rows and weight of the second
        self.shape = (len(number), *store.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def interpolate(
        self, gaps: np.ndarray, before: np.ndarray, after: np.ndarray, weight: np.ndarray
    ) -> None:
        """Fill the frames ``gaps`` with (1 - weight) of the frame before and weight of the frame after."""
        rows = zip(gaps.tolist(), before.tolist(), after.tolist(), weight, strict=True)
        for gap, first, last, share in rows:
            self._interpolated[gap] = (int(self._number[first]), int(self._number[last]), share)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]

    def __getitem__(self, frames: int | slice | np.ndarray) -> np.ndarray:
        """(n, *shape) float32 of a slice or of frame numbers; (*shape) of one number."""
        if isinstance(frames, (int, np.integer)):
            return self[np.array([frames])][0]
        frames = np.arange(len(self))[frames]
        result = np.zeros((len(frames), *self.shape[1:]), np.float32)
        known = np.flatnonzero(self._number[frames] >= 0)
        result[known] = self._store.read(self._number[frames[known]])
        for place, frame in enumerate(frames.tolist()):
            if frame in self._interpolated:
                first, last, weight = self._interpolated[frame]
                before, after = self._store.read([first, last])
                result[place] = (1 - weight) * before + weight * after
        return result

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:] if dtype is None else self[:].astype(dtype)


@dataclass(eq=False)
class Tracklet:
    """A face followed within a shot. Lists run in parallel, one entry a frame it was read in.

    frames: frame numbers, rising.  landmarks (478, 3), blendshapes (52,), turn (degrees), size (pixels) of
    each.  appearance_change: how much the lower face differs from what it looked like before, 0 not at all.
    appearance: what the face looked like so far.  box: the square that is read next, (centre x, centre y,
    side).
    colours, centre (pixels), extent (pixels): of the last reading.  velocity: pixels a frame.
    """

    shot: int
    frames: array[int] = field(default_factory=lambda: array("q"))
    landmarks: TrackletRows = field(default_factory=lambda: TrackletRows(RowList(ROW_SHAPES[0])))
    blendshapes: TrackletRows = field(default_factory=lambda: TrackletRows(RowList(ROW_SHAPES[1])))
    turn: array[float] = field(default_factory=lambda: array("d"))
    size: array[float] = field(default_factory=lambda: array("d"))
    appearance_change: array[float] = field(default_factory=lambda: array("d"))
    appearance: AppearanceMemory = field(default_factory=AppearanceMemory)
    box: tuple[float, float, float] = (0.0, 0.0, 1.0)
    colours: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.float32))
    centre: np.ndarray = field(default_factory=lambda: np.zeros(2))
    extent: float = 1.0
    velocity: np.ndarray = field(default_factory=lambda: np.zeros(2))

    def add(self, frame_number: int, reading: FaceReading) -> None:
        """Take a reading as this face's, and move the crop if the face has moved."""
        if self.frames:
            elapsed = frame_number - self.frames[-1]
            step = (reading.centre - self.centre) / elapsed
            self.velocity = 0.5 * self.velocity + 0.5 * step if elapsed <= 3 else np.zeros(2)
        self.frames.append(frame_number)
        self.landmarks.append(reading.landmarks)
        self.blendshapes.append(reading.blendshapes)
        self.turn.append(reading.turn)
        self.size.append(reading.size)
        self.appearance_change.append(self.appearance.add(reading.colours, reading.landmarks, reading.pose))
        self.centre, self.extent, self.colours = reading.centre, reading.extent, reading.colours
        self._hold_crop()

    def _hold_crop(self) -> None:
        x, y, side = self.box
        target_side = self.extent * CROP_MARGIN
        moved = np.abs(self.centre - (x, y)).max() > HOLD_SHIFT * side
        if len(self.frames) == 1 or moved or abs(target_side / side - 1) > HOLD_ZOOM:
            self.box = (float(self.centre[0]), float(self.centre[1]), target_side)

    def expected_centre(self, frame_number: int) -> np.ndarray:
        """(2,) where the face should be in a frame: the last speed goes on for a few frames, fading."""
        elapsed = frame_number - self.frames[-1]
        return self.centre + self.velocity * (1 - 0.8**elapsed) / 0.2 * 0.8

    def association_cost(self, frame_number: int, reading: FaceReading) -> float:
        """How unlikely the reading is this face, by place, size and appearance: 0 sure, infinite refused."""
        elapsed = frame_number - self.frames[-1]
        distance = float(np.linalg.norm(reading.centre - self.expected_centre(frame_number))) / max(
            self.extent, reading.extent
        )
        place = distance / min(0.35 + 0.1 * elapsed, 1.5)
        zoom = abs(np.log(reading.extent / self.extent)) / min(0.3 + 0.03 * elapsed, 0.7)
        if max(place, zoom) > 1:
            return float("inf")
        return max(place, zoom) + self.appearance.distance(reading.colours, reading.pose) / USUAL_APPEARANCE

    def continues(self, frame_number: int, reading: FaceReading) -> bool:
        """The reading is surely this face in the same shot: hardly moved, of the same size, of the same
        appearance."""
        distance = float(np.linalg.norm(reading.centre - self.expected_centre(frame_number)))
        same_size = abs(np.log(reading.extent / self.extent)) < SAME_SIZE
        return (
            distance < SAME_PLACE * self.extent
            and same_size
            and appearance_distance(self.colours, reading.colours) < NEXT_APPEARANCE
        )

    @property
    def openings(self) -> np.ndarray:
        """(T,) distance of the inner lips over the face's size, of the frames it was read in."""
        top, bottom = LIP_MIDDLES
        gaps = np.array([np.linalg.norm(points[top] - points[bottom]) for points in self.landmarks])
        return gaps / np.array(self.size)
