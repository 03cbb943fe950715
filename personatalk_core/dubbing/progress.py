"""Progress of a run that has several stages.

The core's stages know only ``on_progress(done, total)``; a :class:`Progress` names them and hands one out a
stage.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that `personatalk --help` does without numpy and torch
    import numpy as np

    from ..types import OnProgress


class Counter:
    """Counts the units of a stage that are done; every call may raise to cancel."""

    def __init__(self, on_progress: OnProgress, total: int) -> None:
        self.done, self.total = 0, total
        self._on_progress = on_progress

    def start_at(self, done: int) -> None:
        """Units that were done before."""
        self.done = done

    def advance(self, units: int) -> None:
        """So many more are done; 0 only asks whether to go on."""
        self.done += units
        self._on_progress(self.done, self.total)


class Progress:
    """Hands out one callback a stage and keeps the seconds each stage took. Silent; subclasses show it.

    warnings: sentences about what went on otherwise than asked for.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    def stage(self, name: str) -> OnProgress:
        """Begin the stage ``name`` and return its ``on_progress(done, total)``."""
        started = time.monotonic()

        def on_progress(done: int, total: int) -> None:
            self.seconds[name] = time.monotonic() - started
            self.show(name, done, total)

        return on_progress

    def counter(self, name: str, total: int) -> Counter:
        """Begin the stage ``name``, of ``total`` units, and return what counts them."""
        return Counter(self.stage(name), total)

    def show(self, name: str, done: int, total: int) -> None:
        """Called after each unit of work. May raise to cancel."""

    def picture(self, frame: np.ndarray) -> None:
        """Called with each finished frame (H, W, 3) uint8, to show how it comes along; it must not be kept or
        changed."""


class ProgressBars(Progress):
    """A tqdm bar a stage on stderr; nothing with ``quiet``. A context manager that closes the last bar."""

    def __init__(self, quiet: bool = False) -> None:
        super().__init__()
        self.quiet = quiet
        self._bar = None
        self._name = ""

    def show(self, name: str, done: int, total: int) -> None:
        if self.quiet:
            return
        from tqdm import tqdm

        bar = self._bar
        if bar is None or name != self._name:
            self.close()
            bar = tqdm(total=total, desc=f"{name:<20}", unit="", file=sys.stderr, leave=True)
            self._name, self._bar = name, bar
        bar.total = total
        bar.update(done - bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._name = None, ""

    def __enter__(self) -> ProgressBars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
