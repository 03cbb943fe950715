"""The plain way: one job after the other in this process, with models loaded once."""

from __future__ import annotations

from pathlib import Path

from ..config import DubOptions
from ..dubbing.progress import Progress
from ..media.content_credentials import ContentSigner
from ..models import Models
from .batch_view import BatchView
from .job import run_job
from .job_queue import JobQueue


class _ShownStages(Progress):
    def __init__(self, view: BatchView, queue: JobQueue, out: str) -> None:
        super().__init__()
        self._view, self._queue, self._out = view, queue, out

    def show(self, name: str, done: int, total: int) -> None:
        self._view.show(self._queue, {self._out: (name, done, total)})


def run_one_by_one(
    queue: JobQueue,
    folder: Path,
    models: Models,
    base: DubOptions,
    view: BatchView,
    signer: ContentSigner | None = None,
) -> None:
    """Run a queue until it is empty."""
    while (job := queue.take()) is not None:
        queue.finish(run_job(job, folder, models, base, _ShownStages(view, queue, job.out), signer))
        view.show(queue, {})
