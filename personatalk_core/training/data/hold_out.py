"""Who is held out of training: the one rule for the data preparation and every network.

Speakers named are held out, and nobody else. Where none is named, those that ``personatalk prepare`` set
aside are; where it set nobody aside, a share of the speakers is drawn by the hash of their names, so that a
speaker stays on one side when others come. The speaker with the most material is never drawn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from ...errors import OptionsError

HELD_OUT_SHARE = 0.15  # of the speakers


class SpokenClip(Protocol):
    """What the rule asks of a clip."""

    @property
    def speaker(self) -> str: ...

    @property
    def frame_count(self) -> int: ...


Clip = TypeVar("Clip", bound=SpokenClip)


def draw_speakers(frames: Mapping[str, int], share: float = HELD_OUT_SHARE, least: int = 1) -> set[str]:
    """Draw the speakers to hold out: those whose name's sha256 falls below the share.

    Args:
        frames: how much there is of each speaker; the one with the most always trains.
        share:  in [0, 1]; 0 draws nobody.
        least:  speakers drawn at any share above 0, as far as somebody is left to train on.
    """
    rank = {name: int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 2**32 for name in frames}
    ordered = sorted(frames, key=rank.__getitem__)
    if len(ordered) < 2 or share <= 0:
        return set()
    ordered.remove(max(ordered, key=lambda name: (frames[name], rank[name])))
    return {name for place, name in enumerate(ordered) if place < least or rank[name] < share}


def split_by_speaker(
    clips: Sequence[Clip],
    names: Sequence[str] = (),
    share: float = HELD_OUT_SHARE,
    set_aside: Collection[str] = (),
) -> tuple[list[Clip], list[Clip]]:
    """Training and validation clips; no speaker is on both sides.

    Args:
        names:     speakers to hold out.
        share:     of the speakers, drawn where none is named or set aside.
        set_aside: speakers in the validation split of a prepared folder; see ``preparation.set_aside``.
    Raises:
        OptionsError: a speaker named does not exist, or nobody would be left to train on.
    """
    frames = frames_by_speaker((clip.speaker, clip.frame_count) for clip in clips)
    if names and not set(names) < set(frames):
        raise OptionsError(
            f"speakers to hold out are {', '.join(names)}; expected some, not all, where the speakers are "
            f"{', '.join(sorted(frames))}."
        )
    held = set(names) or set(set_aside) & set(frames)
    if not held or held == set(frames):
        held = draw_speakers(frames, share)
    return [c for c in clips if c.speaker not in held], [c for c in clips if c.speaker in held]


def frames_by_speaker(spoken: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Frames of each speaker, from the speaker and the frames of each clip."""
    frames: dict[str, int] = {}
    for speaker, count in spoken:
        frames[speaker] = frames.get(speaker, 0) + count
    return frames
