"""What a person sees while a batch runs: how many jobs are done, failed and left, and where each running one
is."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import TextIO

from .job_queue import JobQueue

REDRAW = 0.5  # seconds between two drawings on a terminal
LINE = 30.0  # seconds between two lines where the output is a file


class BatchView:
    """One line on stderr, redrawn on a terminal; a line now and then elsewhere. Silent with ``quiet``."""

    def __init__(
        self, total: int, *, skipped: int = 0, quiet: bool = False, stream: TextIO | None = None
    ) -> None:
        self._total, self._skipped, self._quiet = total, skipped, quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._last, self._width, self._counts = 0.0, 0, (-1, -1)

    def show(self, queue: JobQueue, running: Mapping[str, tuple[str, int, int]], note: str = "") -> None:
        """Draw, if it is time. running: (stage, done, total) of each running job by its ``out``."""
        now, counts = time.monotonic(), (queue.done, queue.failed)
        if self._quiet or (
            counts == self._counts and now - self._last < (REDRAW if self._terminal else LINE)
        ):
            return
        self._last, self._counts = now, counts
        self._write(self.text(queue, running, note))

    def text(self, queue: JobQueue, running: Mapping[str, tuple[str, int, int]], note: str = "") -> str:
        """The line itself."""
        parts = [f"batch {queue.done + queue.failed + self._skipped}/{self._total}"]
        counts = ((self._skipped, "kept"), (queue.failed, "failed"), (queue.waiting, "waiting"))
        parts += [f"{count} {word}" for count, word in counts if count]
        parts += [
            f"{out}: {stage} {100 * done // max(1, total)}%" for out, (stage, done, total) in running.items()
        ]
        return " | ".join(parts + ([note] if note else []))

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._width:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, text: str) -> None:
        if self._terminal:
            self._stream.write("\r" + text[:200].ljust(self._width))
            self._width = min(200, len(text))
        else:
            self._stream.write(text + "\n")
        self._stream.flush()
