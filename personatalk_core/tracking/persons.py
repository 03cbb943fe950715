"""Which candidates of other shots, or of the same shot after a gap, are the person who was chosen."""

from __future__ import annotations

from .candidate import Candidate
from .look import SAME_LOOK


def same_person(person: Candidate, candidates: list[Candidate]) -> list[Candidate]:
    """The chosen candidate and its parts in other shots, in order of time, never two at one frame.

    Args:
        person:     the chosen candidate.
        candidates: everybody who was found.
    Returns:
        Candidates with disjoint frames, person among them.
    """
    parts = [person]
    taken = set(person.frames)
    others = [(person.look.distance_to(c.look), c) for c in candidates if c is not person]
    for distance, other in sorted(others, key=lambda pair: pair[0]):
        if distance < SAME_LOOK and taken.isdisjoint(other.frames):
            parts.append(other)
            taken.update(other.frames)
    return sorted(parts, key=lambda c: c.frames[0])

