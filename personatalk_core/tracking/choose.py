"""Which candidates of other shots, or of the same shot after a gap, are the person who was chosen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..config import FaceChoice
from ..errors import FaceError
from .appearance import SAME_APPEARANCE
from .tracklet import Tracklet


def same_person(person: Tracklet, tracklets: list[Tracklet]) -> list[Tracklet]:
    """The chosen candidate and its parts in other shots, in order of time, never two at one frame.

    Args:
        person:     the chosen candidate.
        tracklets: everybody who was found.
    Returns:
        Candidates with disjoint frames, person among them.
    """
    parts = [person]
    taken = set(person.frames)
    others = [(person.look.distance_to(c.look), c) for c in tracklets if c is not person]
    for distance, other in sorted(others, key=lambda pair: pair[0]):
        if distance < SAME_APPEARANCE and taken.isdisjoint(other.frames):
            parts.append(other)
            taken.update(other.frames)
    return sorted(parts, key=lambda c: c.frames[0])


SPEAKING = (
    0.03  # mean absolute opening, over the face's size, beyond which more movement does not count for more
)
MIN_READINGS = 3  # a candidate seen in fewer frames ...
# ... or in less than this of the frames from its first to its last is a pattern taken for a face: it counts
# only alone
MIN_SHARE = 0.3
MOST_COMPARED = 40  # candidates whose other shots are looked for, the best first


def speaking_score(person: Tracklet) -> float:
    """How much a face speaks and how large it is: frames x size x (movement of the lips)^1.5."""
    openings = person.openings
    movement = float(np.abs(openings - np.median(openings)).mean())
    return len(person.frames) * float(np.median(person.size)) * (min(movement, SPEAKING) + 1e-4) ** 1.5


def choose_person(tracklets: list[Tracklet], choice: FaceChoice) -> Tracklet:
    """The candidate that the choice names, in one of its shots.

    Raises:
        FaceError: the index or the point matches no face; the faces found are listed.
    """
    lasting = [c for c in tracklets if lasts(c)] or tracklets
    if choice.kind == "auto":
        return _best_person(lasting, speaking_score)
    if choice.kind == "largest":
        return _best_person(lasting, lambda c: len(c.frames) * float(np.median(c.size)) ** 2)
    if choice.kind == "index":
        first = min(c.frames[0] for c in lasting)
        present = sorted((c for c in lasting if c.frames[0] == first), key=lambda c: _centre(c, first)[0])
        if choice.index >= len(present):
            raise FaceError(
                f"face index:{choice.index} does not exist: the first frame with faces (frame {first}) "
                f"has {_listed(present, first)}; "
                f"choose an index from 0 to {len(present) - 1}, left to right."
            )
        return present[choice.index]
    return _at_point(lasting, choice)


def lasts(tracklet: Tracklet) -> bool:
    """A face, not a pattern that looks like one now and then."""
    seen = len(tracklet.frames)
    return seen >= MIN_READINGS and seen >= MIN_SHARE * (tracklet.frames[-1] - tracklet.frames[0] + 1)


def _best_person(tracklets: list[Tracklet], score: Callable[[Tracklet], float]) -> Tracklet:
    """The best candidate of the person whose shots together score most."""
    scores = {id(c): score(c) for c in tracklets}
    seeds = sorted(tracklets, key=lambda c: -scores[id(c)])[:MOST_COMPARED]
    return max(seeds, key=lambda seed: sum(scores[id(part)] for part in same_person(seed, tracklets)))


def _at_point(tracklets: list[Tracklet], choice: FaceChoice) -> Tracklet:
    present = [c for c in tracklets if c.frames[0] <= choice.frame <= c.frames[-1]]
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
            f"{_listed(present, choice.frame) or 'no face'} found there; "
            "give a point inside one of these, or face=auto."
        )
    return min(hits, key=lambda hit: hit[0])[1]


def _nearest(person: Tracklet, frame: int) -> np.ndarray:
    """Landmarks (478, 3) of the reading nearest in time to a frame."""
    return person.landmarks[int(np.argmin(np.abs(np.array(person.frames) - frame)))]


def _centre(person: Tracklet, frame: int) -> np.ndarray:
    points = _nearest(person, frame)[:, :2]
    return (points.min(0) + points.max(0)) / 2


def _listed(present: list[Tracklet], frame: int) -> str:
    """'2 faces, at (120, 80) and (310, 92)'."""
    places = [f"({x:.0f}, {y:.0f})" for x, y in (_centre(c, frame) for c in present)]
    if not places:
        return ""
    return f"{len(places)} face{'s' if len(places) > 1 else ''}, at {' and '.join(places)}"
