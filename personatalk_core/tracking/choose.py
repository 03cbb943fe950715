"""Which of the followed faces is meant, and which tracklets of other shots show the same person."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..config import FaceChoice
from ..errors import FaceError
from .appearance import SAME_APPEARANCE
from .tracklet import Tracklet

# mean absolute opening, over the face's size, beyond which more movement does not count for more
FULL_MOVEMENT = 0.03
# a tracklet read in fewer frames, or in less than this share of the frames from its first to its last, is a
# pattern taken for a face: it counts only where there is nothing else
MIN_READINGS = 3
MIN_SHARE = 0.3
MAX_COMPARED = 40  # tracklets whose other shots are looked for, those of the highest score first


def choose_tracklet(tracklets: list[Tracklet], choice: FaceChoice) -> Tracklet:
    """The tracklet that the choice names, in one of its shots.

    Raises:
        FaceError: the index or the point matches no face; the faces found are listed.
    """
    faces = [t for t in tracklets if is_face(t)] or tracklets
    if choice.kind == "auto":
        return _highest(faces, speaking_score)
    if choice.kind == "largest":
        return _highest(faces, lambda t: len(t.frames) * float(np.median(t.size)) ** 2)
    if choice.kind == "index":
        first = min(t.frames[0] for t in faces)
        present = sorted((t for t in faces if t.frames[0] == first), key=lambda t: _centre(t, first)[0])
        if choice.index >= len(present):
            raise FaceError(
                f"face index:{choice.index} does not exist: the first frame with faces (frame {first}) has "
                f"{_listed(present, first)}; choose an index from 0 to {len(present) - 1}, left to right."
            )
        return present[choice.index]
    return _at_point(faces, choice)


def link_tracklets(chosen: Tracklet, tracklets: list[Tracklet]) -> list[Tracklet]:
    """The tracklets that show the same person as the chosen one, in order of time, never two at one frame.

    Args:
        chosen:    one of them.
        tracklets: everybody who was found.
    Returns:
        Tracklets with disjoint frames, the chosen one among them.
    """
    linked = [chosen]
    taken = set(chosen.frames)
    others = [(chosen.appearance.distance_to(t.appearance), t) for t in tracklets if t is not chosen]
    for distance, other in sorted(others, key=lambda pair: pair[0]):
        if distance < SAME_APPEARANCE and taken.isdisjoint(other.frames):
            linked.append(other)
            taken.update(other.frames)
    return sorted(linked, key=lambda t: t.frames[0])


def is_face(tracklet: Tracklet) -> bool:
    """A face, not a pattern that looks like one now and then."""
    readings = len(tracklet.frames)
    return readings >= MIN_READINGS and readings >= MIN_SHARE * (tracklet.frames[-1] - tracklet.frames[0] + 1)


def speaking_score(tracklet: Tracklet) -> float:
    """How much a face speaks and how large it is: frames x size x (movement of the lips)^1.5."""
    openings = tracklet.openings
    movement = float(np.abs(openings - np.median(openings)).mean())
    size = float(np.median(tracklet.size))
    return len(tracklet.frames) * size * (min(movement, FULL_MOVEMENT) + 1e-4) ** 1.5


def _highest(tracklets: list[Tracklet], score: Callable[[Tracklet], float]) -> Tracklet:
    """The tracklet of the person whose shots together have the highest score."""
    scores = {id(t): score(t) for t in tracklets}
    seeds = sorted(tracklets, key=lambda t: -scores[id(t)])[:MAX_COMPARED]
    return max(seeds, key=lambda seed: sum(scores[id(t)] for t in link_tracklets(seed, tracklets)))


def _at_point(tracklets: list[Tracklet], choice: FaceChoice) -> Tracklet:
    present = [t for t in tracklets if t.frames[0] <= choice.frame <= t.frames[-1]]
    hits = []
    for tracklet in present:
        points = _nearest(tracklet, choice.frame)[:, :2]
        low, high = points.min(0), points.max(0)
        middle, half = (low + high) / 2, (high - low) / 2
        outside = float((np.abs(np.array(choice.point) - middle) / half).max())
        if outside <= 1.3:  # a little more than the landmarks' bounds: hair and chin are the face, too
            hits.append((outside, tracklet))
    if not hits:
        x, y = choice.point
        raise FaceError(
            f"no face at point ({x:g}, {y:g}) in frame {choice.frame}: "
            f"{_listed(present, choice.frame) or 'no face'} found there; give a point inside one of these, "
            "or face=auto."
        )
    return min(hits, key=lambda hit: hit[0])[1]


def _nearest(tracklet: Tracklet, frame: int) -> np.ndarray:
    """Landmarks (478, 3) of the reading nearest in time to a frame."""
    return tracklet.landmarks[int(np.argmin(np.abs(np.array(tracklet.frames) - frame)))]


def _centre(tracklet: Tracklet, frame: int) -> np.ndarray:
    points = _nearest(tracklet, frame)[:, :2]
    return (points.min(0) + points.max(0)) / 2


def _listed(present: list[Tracklet], frame: int) -> str:
    """'2 faces, at (120, 80) and (310, 92)'."""
    places = [f"({x:.0f}, {y:.0f})" for x, y in (_centre(t, frame) for t in present)]
    if not places:
        return ""
    return f"{len(places)} face{'s' if len(places) > 1 else ''}, at {' and '.join(places)}"
