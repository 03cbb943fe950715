"""Follow every face of a clip, shot by shot, while the frames stream by once."""

from __future__ import annotations

from array import array

import numpy as np
from scipy.optimize import linear_sum_assignment

from .landmarks import FaceLandmarker, FaceReading
from .search import READ_MARGIN, distinct, search_frame, tile_levels
from .shots import Continuity, CutDetector
from .tracklet import RowFile, RowsInFile, Tracklet

LOOK_AROUND = 12  # frames between looks for people who came in (coarse tiles only)
SEARCH_LEVELS = 2  # tile sizes of such a look
KEEP_LOOKING = 50  # frames a lost face is sought where it was last seen
LOCAL_SEARCH = 3  # frames between these
DETECTIONS_A_FRAME = (
    4  # share of a deep search: its number of tiles over this is the frames between two of them
)
MAX_FOLLOWED = 6  # people at a time, the largest first
SURE_GLIMPSE = 0.65  # score of the detector above which a face that cannot be read is still a face
CROWD = 0.9  # crops closer than this times their mean side are read for several faces


class FaceFollower:
    """Feed frames in order with :meth:`step`; then read :attr:`candidates`, :attr:`shots` and
    :attr:`glimpses`.

    glimpses: frames, among those that were searched, with a face that could not be read: a profile, mostly.

    Memory grows by the landmarks of the faces seen, never by pixels; with ``files``, for rows of landmarks
    and of blendshapes, not even by those. ``all_sizes``: also look for faces much smaller than the largest,
    for a choice that may mean one of them.
    """

    def __init__(
        self,
        landmarker: FaceLandmarker,
        *,
        all_sizes: bool = False,
        files: tuple[RowFile, RowFile] | None = None,
    ) -> None:
        self.files = files
        self._all_sizes = all_sizes
        self._landmarker = landmarker
        self.cuts = CutDetector()
        self.active: list[Tracklet] = []
        self.next_deep_search = 0
        self.tracklets: list[Tracklet] = []
        self.shots = array("q")
        self.glimpses: list[int] = []

    def step(self, frame: np.ndarray) -> None:
        """frame (H, W, 3) uint8 RGB, the next of the clip."""
        number = len(self.shots)
        shot = self.shots[-1] if self.shots else 0
        readings = self._read_followed(number, frame)
        change = self.cuts.judge(frame)
        doubtful = change == Continuity.DOUBTFUL and any(c.frames[-1] == number - 1 for c in self.active)
        if (change == Continuity.CUT or doubtful) and not self._goes_on(number, readings):
            shot += 1
            readings, self.active = [], []
            self.next_deep_search = number
        self.shots.append(shot)

        self._assign(number, readings)
        self._look_for_more(number, frame)
        self.active = [c for c in self.active if number - c.frames[-1] <= KEEP_LOOKING]

    def _read_followed(self, number: int, frame: np.ndarray) -> list[FaceReading]:
        readings: list[FaceReading] = []
        for tracklet in self.active:
            box = tracklet.box
            if tracklet.frames[-1] < number - 1:
                box = (*tracklet.expected_centre(number), box[2])
            crowded = any(
                np.hypot(box[0] - other.box[0], box[1] - other.box[1]) < CROWD * (box[2] + other.box[2]) / 2
                for other in self.active
                if other is not tracklet
            )
            readings += self._landmarker.read(frame, box, several=crowded)
        return _distinct_readings(readings)

    def _goes_on(self, number: int, readings: list[FaceReading]) -> bool:
        """Somebody is still where he was, at the same size and looking the same: a jolt of the camera, not a
        cut."""
        return any(c.continues(number, reading) for c in self.active for reading in readings)

    def _assign(self, number: int, readings: list[FaceReading]) -> None:
        """Give each reading to the person it fits best; a reading that fits nobody begins a new person."""
        waiting = [c for c in self.tracklets if c.shot == self.shots[-1] and c.frames[-1] < number]
        taken: set[int] = set()
        if readings and waiting:
            cost = np.array([[c.association_cost(number, r) for c in waiting] for r in readings])
            for row, column in zip(*linear_sum_assignment(np.minimum(cost, 1e3)), strict=True):
                if np.isfinite(cost[row, column]):
                    waiting[column].add(number, readings[row])
                    taken.add(row)
                    if waiting[column] not in self.active:
                        self.active.append(waiting[column])
        for row, reading in enumerate(readings):
            if row not in taken:
                person = self._new_person()
                person.add(number, reading)
                self.tracklets.append(person)
                self.active.append(person)

    def _new_person(self) -> Tracklet:
        if self.files is None:
            return Tracklet(self.shots[-1])
        return Tracklet(
            self.shots[-1], landmarks=RowsInFile(self.files[0]), blendshapes=RowsInFile(self.files[1])
        )

    def _look_for_more(self, number: int, frame: np.ndarray) -> None:
        lost = [c for c in self.active if c.frames[-1] < number]
        found = np.zeros((0, 4))
        if len(lost) == len(self.active) and number >= self.next_deep_search:  # nobody in sight
            found = search_frame(self._landmarker, frame, all_sizes=self._all_sizes)
            self.next_deep_search = number + max(5, _tile_count(frame.shape[:2]) // DETECTIONS_A_FRAME)
        elif number % LOOK_AROUND == 0:
            found = search_frame(self._landmarker, frame, levels=SEARCH_LEVELS, all_sizes=self._all_sizes)
        near = [
            c for c in lost if number - c.frames[-1] == 1 or number % LOCAL_SEARCH == 0
        ]  # at once, then now and again
        if near:
            found = distinct(np.concatenate([found, *(self._search_near(number, frame, c) for c in near)]))
        seen = [c for c in self.active if c.frames[-1] == number]
        fresh = [
            box
            for box in found
            if all(np.hypot(*(box[:2] - c.centre)) > 0.5 * max(box[2], c.extent) for c in seen)
        ]
        room = max(0, MAX_FOLLOWED - len(seen))
        fresh = sorted(fresh, key=lambda box: -box[2])[:room]
        readings: list[FaceReading] = []
        for x, y, side, score in fresh:
            read = self._landmarker.read(frame, (x, y, side * READ_MARGIN))
            readings += read
            if not read and score > SURE_GLIMPSE and number not in self.glimpses[-1:]:
                self.glimpses.append(number)
        readings = [r for r in _distinct_readings(readings) if all(not _same_place(r, c) for c in seen)]
        self._assign(number, readings)

    def _search_near(self, number: int, frame: np.ndarray, person: Tracklet) -> np.ndarray:
        """Boxes (N, 4) found in a square three times the face around where a lost face should be."""
        height, width = frame.shape[:2]
        x, y = person.expected_centre(number)
        half = int(np.ceil(1.5 * person.extent))
        left, top = max(0, int(x) - half), max(0, int(y) - half)
        part = frame[top : min(height, int(y) + half), left : min(width, int(x) + half)]
        if min(part.shape[:2]) < 8:
            return np.zeros((0, 4))
        boxes = self._landmarker.detect(part)
        boxes[:, :2] += (left, top)
        return boxes


def _same_place(reading: FaceReading, person: Tracklet) -> bool:
    return bool(np.linalg.norm(reading.centre - person.centre) < 0.4 * max(reading.extent, person.extent))


def _distinct_readings(readings: list[FaceReading]) -> list[FaceReading]:
    """Drop readings of a face that an earlier one shows already."""
    kept: list[FaceReading] = []
    for reading in readings:
        if all(np.linalg.norm(reading.centre - k.centre) > 0.4 * max(reading.extent, k.extent) for k in kept):
            kept.append(reading)
    return kept


def _tile_count(frame_size: tuple[int, int]) -> int:
    """About how many tiles a search of all levels looks at."""
    height, width = frame_size
    return sum(
        int(np.ceil(height / (0.6 * side)) * np.ceil(width / (0.6 * side)))
        for side in tile_levels(frame_size)
    )
