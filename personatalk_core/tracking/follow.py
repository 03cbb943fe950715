"""Follow every face of a clip, shot by shot, while the frames stream by once."""

from __future__ import annotations

from array import array

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .landmarks import FaceLandmarker, FaceReading
from .search import READ_MARGIN, distinct, search_frame, tile_levels
from .shots import Continuity, CutDetector
from .tracklet import ROW_SHAPES, RowList, RowStore, Tracklet, TrackletRows

COARSE_INTERVAL = 12  # frames between searches for people who came in (coarse tiles only)
COARSE_LEVELS = 2  # tile sizes of such a search
MAX_LOST = 50  # frames a lost face is sought where it was last seen
LOCAL_INTERVAL = 3  # frames between these searches
DEEP_TILES_A_FRAME = 4  # tiles of a deep search, over the frames between two of them
MAX_FOLLOWED = 6  # people at a time, the largest first
GLIMPSE_SCORE = 0.65  # score of the detector above which a face that cannot be read is still a face
STATE_ARRAYS = ("frames", "turn", "size", "appearance_change")  # of each tracklet, one entry a reading
STATE_POINTS = ("colours", "centre", "velocity")  # of its last reading
CROWDED = 0.9  # crops closer than this times their mean side are read for several faces


class FaceFollower:
    """Feed frames in order with :meth:`step`; then read ``tracklets``, ``shots`` and ``glimpses``.

    shots: number of the shot of each frame.  glimpses: frames, among those that were searched, with a face
    that could not be read: a profile, mostly.

    Memory grows by the landmarks of the faces that were read, never by pixels.
    Args:
        landmarker: reads the faces.
        all_sizes:  also search for faces much smaller than the largest, for a choice that may mean one.
        rows:       where landmarks and blendshapes are kept, files for instance; None: in memory.
    """

    def __init__(
        self,
        landmarker: FaceLandmarker,
        *,
        all_sizes: bool = False,
        rows: tuple[RowStore, RowStore] | None = None,
    ) -> None:
        self.rows = rows or (RowList(ROW_SHAPES[0]), RowList(ROW_SHAPES[1]))
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
        # read the faces that are followed, where they should be now
        readings = self._read_followed(number, frame)

        # begin a new shot at a cut
        continuity = self.cuts.judge(frame)
        doubtful = continuity == Continuity.DOUBTFUL and any(t.frames[-1] == number - 1 for t in self.active)
        if (continuity == Continuity.CUT or doubtful) and not self._continues_shot(number, readings):
            shot += 1
            readings, self.active = [], []
            self.next_deep_search = number
        self.shots.append(shot)

        # give the readings to tracklets, then search for faces that are not followed
        self._assign(number, readings)
        self._search(number, frame)
        self.active = [t for t in self.active if number - t.frames[-1] <= MAX_LOST]

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Everything that the next frame's reading depends on, as tensors and JSON values.

        Another run goes on from it with the next frame. The readings themselves must lie in files.
        """
        tracklets = self.tracklets
        tensors = {"shots": _tensor(self.shots), "glimpses": _tensor(array("q", self.glimpses))}
        for name in STATE_ARRAYS:
            tensors[name] = _tensor(*(getattr(tracklet, name) for tracklet in tracklets))
        tensors["rows"] = _tensor(*(tracklet.landmarks.numbers for tracklet in tracklets))
        for k, tracklet in enumerate(tracklets):
            for name in STATE_POINTS:
                tensors[f"{k}.{name}"] = torch.from_numpy(np.array(getattr(tracklet, name)))
            colours = list(tracklet.appearance.colours.values())
            tensors[f"{k}.appearance"] = torch.from_numpy(np.stack(colours)) if colours else torch.zeros(0)
        thumbnail, changes = self.cuts.state
        if thumbnail is not None:
            tensors["thumbnail"] = torch.from_numpy(thumbnail)
        config = {
            "changes": changes,
            "next_deep_search": self.next_deep_search,
            "active": [tracklets.index(tracklet) for tracklet in self.active],
            "tracklets": [
                {
                    "shot": tracklet.shot,
                    "readings": len(tracklet.frames),
                    "box": [float(v) for v in tracklet.box],
                    "extent": float(tracklet.extent),
                    "poses": [list(step) for step in tracklet.appearance.colours],
                }
                for tracklet in tracklets
            ],
        }
        return tensors, config

    def restore(self, tensors: dict[str, Tensor], config: dict) -> None:
        """Bring a new follower, whose row files hold the readings, to a :meth:`state`."""
        self.shots = array("q", tensors["shots"].tolist())
        self.glimpses = tensors["glimpses"].tolist()
        self.next_deep_search = int(config["next_deep_search"])
        self.cuts.state = (
            tensors["thumbnail"].numpy().copy() if "thumbnail" in tensors else None,
            config["changes"],
        )
        start = 0
        for k, saved in enumerate(config["tracklets"]):
            readings = slice(start, start + saved["readings"])
            start = readings.stop
            x, y, side = saved["box"]
            tracklet = Tracklet(int(saved["shot"]), box=(x, y, side), extent=saved["extent"])
            for name in STATE_ARRAYS:
                typecode = getattr(tracklet, name).typecode
                setattr(tracklet, name, array(typecode, tensors[name][readings].tolist()))
            rows = tensors["rows"][readings].tolist()
            tracklet.landmarks, tracklet.blendshapes = (TrackletRows(store, rows) for store in self.rows)
            for name in STATE_POINTS:
                setattr(tracklet, name, tensors[f"{k}.{name}"].numpy().copy())
            colours = tensors[f"{k}.appearance"].numpy().copy()
            for pose, pose_colours in zip(saved["poses"], colours, strict=True):
                tracklet.appearance.colours[(pose[0], pose[1])] = pose_colours
            self.tracklets.append(tracklet)
        self.active = [self.tracklets[k] for k in config["active"]]

    def _read_followed(self, number: int, frame: np.ndarray) -> list[FaceReading]:
        readings: list[FaceReading] = []
        for tracklet in self.active:
            box = tracklet.box
            if tracklet.frames[-1] < number - 1:
                box = (*tracklet.expected_centre(number), box[2])
            crowded = any(
                np.hypot(box[0] - other.box[0], box[1] - other.box[1]) < CROWDED * (box[2] + other.box[2]) / 2
                for other in self.active
                if other is not tracklet
            )
            readings += self._landmarker.read(frame, box, several=crowded)
        return _distinct_readings(readings)

    def _continues_shot(self, number: int, readings: list[FaceReading]) -> bool:
        """Somebody is still in place, of the same size and appearance: a jolt of the camera, not a cut."""
        return any(t.continues(number, reading) for t in self.active for reading in readings)

    def _assign(self, number: int, readings: list[FaceReading]) -> None:
        """Give each reading to the tracklet it fits best; a reading that fits none begins a new one."""
        waiting = [t for t in self.tracklets if t.shot == self.shots[-1] and t.frames[-1] < number]
        assigned: set[int] = set()
        if readings and waiting:
            cost = np.array([[t.association_cost(number, r) for t in waiting] for r in readings])
            for row, column in zip(*linear_sum_assignment(np.minimum(cost, 1e3)), strict=True):
                if np.isfinite(cost[row, column]):
                    waiting[column].add(number, readings[row])
                    assigned.add(row)
                    if waiting[column] not in self.active:
                        self.active.append(waiting[column])
        for row, reading in enumerate(readings):
            if row not in assigned:
                landmarks, blendshapes = (TrackletRows(store) for store in self.rows)
                tracklet = Tracklet(self.shots[-1], landmarks=landmarks, blendshapes=blendshapes)
                tracklet.add(number, reading)
                self.tracklets.append(tracklet)
                self.active.append(tracklet)

    def _search(self, number: int, frame: np.ndarray) -> None:
        """Detect faces that are not followed, read them and assign them."""
        # detect: everywhere when nobody is in sight, coarsely now and then, around where a face was lost
        lost = [t for t in self.active if t.frames[-1] < number]
        found = np.zeros((0, 4))
        if len(lost) == len(self.active) and number >= self.next_deep_search:  # nobody in sight
            found = search_frame(self._landmarker, frame, all_sizes=self._all_sizes)
            self.next_deep_search = number + max(5, _tile_count(frame.shape[:2]) // DEEP_TILES_A_FRAME)
        elif number % COARSE_INTERVAL == 0:
            found = search_frame(self._landmarker, frame, levels=COARSE_LEVELS, all_sizes=self._all_sizes)
        sought = [t for t in lost if number - t.frames[-1] == 1 or number % LOCAL_INTERVAL == 0]
        if sought:
            nearby = [self._search_around(number, frame, t) for t in sought]
            found = distinct(np.concatenate([found, *nearby]))

        # keep what is not followed already, the largest first
        in_sight = [t for t in self.active if t.frames[-1] == number]
        unknown = [
            box
            for box in found
            if all(np.hypot(*(box[:2] - t.centre)) > 0.5 * max(box[2], t.extent) for t in in_sight)
        ]
        vacancies = max(0, MAX_FOLLOWED - len(in_sight))
        unknown = sorted(unknown, key=lambda box: -box[2])[:vacancies]

        # read the landmarks
        readings: list[FaceReading] = []
        for x, y, side, score in unknown:
            read = self._landmarker.read(frame, (x, y, side * READ_MARGIN))
            readings += read
            if not read and score > GLIMPSE_SCORE and number not in self.glimpses[-1:]:
                self.glimpses.append(number)
        readings = [r for r in _distinct_readings(readings) if all(not _same_place(r, t) for t in in_sight)]
        self._assign(number, readings)

    def _search_around(self, number: int, frame: np.ndarray, tracklet: Tracklet) -> np.ndarray:
        """Boxes (N, 4) found in a square three times the face around where a lost face should be."""
        height, width = frame.shape[:2]
        x, y = tracklet.expected_centre(number)
        half = int(np.ceil(1.5 * tracklet.extent))
        left, top = max(0, int(x) - half), max(0, int(y) - half)
        surroundings = frame[top : min(height, int(y) + half), left : min(width, int(x) + half)]
        if min(surroundings.shape[:2]) < 8:
            return np.zeros((0, 4))
        boxes = self._landmarker.detect(surroundings)
        boxes[:, :2] += (left, top)
        return boxes


def _same_place(reading: FaceReading, tracklet: Tracklet) -> bool:
    distance = np.linalg.norm(reading.centre - tracklet.centre)
    return bool(distance < 0.4 * max(reading.extent, tracklet.extent))


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


def _tensor(*arrays: array) -> Tensor:
    joined = np.concatenate([np.asarray(values) for values in arrays]) if arrays else np.zeros(0, np.int64)
    return torch.from_numpy(joined.copy())
