"""The core's progress on ComfyUI's bar. Every step, and every operation of torch in between, also asks
whether the user cancelled."""

from __future__ import annotations

import time

import comfy.utils

from ..personatalk_core.dubbing.progress import Progress
from .cancelling import Cancellable

SHARES = {"tracking": 20, "geometry": 8, "speech to geometry": 2, "rendering": 70}  # of a dub's time
UNITS = 1000  # of the bar
PREVIEW_SECONDS = 0.5  # between two pictures on the node
PREVIEW_SIZE = 384  # pixels of their longer side


class NodeProgress(Progress):
    """One bar over the stages a node runs, in order; a stage's part of it is its share of the time. Used as
    ``with NodeProgress(...)``."""

    def __init__(self, node_id: str | None, *plan: str) -> None:
        super().__init__()
        self._plan = plan
        self._total = sum(SHARES.get(name, 10) for name in plan) or 1
        self._bar = comfy.utils.ProgressBar(UNITS, node_id=node_id)
        self._value, self._last_picture = 0, 0.0
        self._cancel = Cancellable()

    def __enter__(self) -> NodeProgress:
        self._cancel.ask()
        self._cancel.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._cancel.__exit__(*error)

    def show(self, name: str, done: int, total: int) -> None:
        self._cancel.ask()
        before = self._plan[: self._plan.index(name)] if name in self._plan else self._plan
        share = SHARES.get(name, 10) * min(1.0, done / max(1, total))
        value = int(UNITS * (sum(SHARES.get(n, 10) for n in before) + share) / self._total)
        self._value = max(self._value, min(value, UNITS))
        self._bar.update_absolute(self._value, UNITS)

    def picture(self, frame) -> None:
        """Show a frame (H, W, 3) uint8 on the node, not more often than twice a second."""
        if time.monotonic() - self._last_picture < PREVIEW_SECONDS:
            return
        from PIL import Image

        self._last_picture = time.monotonic()
        self._bar.update_absolute(self._value, UNITS, ("JPEG", Image.fromarray(frame), PREVIEW_SIZE))
