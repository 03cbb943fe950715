"""Source frames by number while a window moves along the output: read once, forgotten when no batch needs
them any more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from ..media.video_reader import VideoReader


class FrameWindow:
    """Frames in the order in which they are first needed.

    ``needs`` yields, batch by batch, the frames that must be at hand; a frame that the next batch does not
    need goes, so memory holds one batch whatever the length of the clip.
    """

    def __init__(self, reader: VideoReader, needs: Iterable[Iterable[int]]) -> None:
        self._needs = iter(needs)
        self._frames: dict[int, np.ndarray] = {}
        self._wanted: deque[int] = deque()
        self._stream = reader.frames(self._asked())

    def advance(self) -> dict[int, np.ndarray]:
        """The frames of the next batch by number, (H, W, 3) uint8 each."""
        need = sorted(set(next(self._needs)))
        self._frames = {i: frame for i, frame in self._frames.items() if i in need}
        fresh = [i for i in need if i not in self._frames]
        if fresh and fresh[-1] < max(self._frames, default=-1):
            fresh.reverse()  # the picture runs backwards: read it in that order
        self._wanted.extend(fresh)
        for i in fresh:
            self._frames[i] = next(self._stream)
        return self._frames

    def _asked(self) -> Iterator[int]:
        while self._wanted:
            yield self._wanted.popleft()
