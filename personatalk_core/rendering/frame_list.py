"""Frame numbers as people write them."""

from __future__ import annotations

import re

from ..errors import OptionsError

MAX_FRAMES = 100_000


def parse_frames(text: str) -> tuple[int, ...]:
    """``"12, 40-55"`` to sorted frame numbers from 0, each once; empty text to none.

    Raises:
        OptionsError: anything else than numbers and rising ranges, separated by commas or spaces.
    """
    frames: set[int] = set()
    for piece in re.split(r"[,\s]+", re.sub(r"\s*-\s*", "-", text.strip())):
        match = re.fullmatch(r"(\d{1,7})(?:-(\d{1,7}))?", piece)
        if piece and not match:
            raise OptionsError(
                f"'{piece}' is not a frame; expected frame numbers and ranges, such as 12, 40-55."
            )
        if match:
            first, last = int(match[1]), int(match[2] or match[1])
            if not first <= last < first + MAX_FRAMES:
                raise OptionsError(
                    f"the range {piece} runs backwards or is too long; write the smaller number first."
                )
            frames.update(range(first, last + 1))
    return tuple(sorted(frames))


def format_frames(frames: tuple[int, ...]) -> str:
    """The inverse of :func:`parse_frames`, with runs as ranges."""
    runs: list[list[int]] = []
    for frame in sorted(set(frames)):
        if runs and frame == runs[-1][1] + 1:
            runs[-1][1] = frame
        else:
            runs.append([frame, frame])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
