"""Which job runs next, which is tried again, and when it is over. Knows nothing of workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from .job import DONE, FAILED, JobResult
from .manifest import Job

MAX_LOST = 3  # workers that one job may take with it before it is given up


class JobQueue:
    """Every job leaves exactly once, through ``on_result``; a worker that dies gives its job back.

    Args:
        jobs:      to run, in order.
        retries:   further attempts after a failed one, >= 0.
        on_result: called once a job.
    """

    def __init__(self, jobs: Sequence[Job], retries: int, on_result: Callable[[JobResult], None]) -> None:
        self._waiting = deque(jobs)
        self._running: dict[int, Job] = {}
        self._attempts = {job.line: 0 for job in jobs}
        self._lost = {job.line: 0 for job in jobs}
        self._retries = retries
        self._on_result = on_result
        self.done = self.failed = 0

    @property
    def over(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._running

    @property
    def running(self) -> list[Job]:
        """Jobs that were taken and have not come back."""
        return list(self._running.values())

    @property
    def waiting(self) -> int:
        """Jobs that nobody has taken."""
        return len(self._waiting)

    def take(self) -> Job | None:
        """The next job, or None where none waits."""
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._running[job.line] = job
        return job

    def finish(self, result: JobResult) -> None:
        """A run came to its end. A failed one goes to the back of the queue while attempts are left."""
        job = self._running.pop(result.line)
        self._attempts[job.line] += 1
        if result.status == FAILED and self._attempts[job.line] <= self._retries:
            self._waiting.append(job)
            return
        self._leave(replace(result, attempts=self._attempts[job.line], lost=self._lost[job.line]))

    def lose(self, job: Job, why: str) -> None:
        """The worker died: the job goes to the front again, unless it has taken several with it."""
        del self._running[job.line]
        self._lost[job.line] += 1
        if self._lost[job.line] < MAX_LOST:
            self._waiting.appendleft(job)
            return
        sentence = (
            f"The worker died {MAX_LOST} times while it ran this job ({why}); it may need more "
            "memory than a worker has."
        )
        attempts, lost = self._attempts[job.line], self._lost[job.line]
        self._leave(
            JobResult(out=job.out, line=job.line, status=FAILED, error=sentence, attempts=attempts, lost=lost)
        )

    def _leave(self, result: JobResult) -> None:
        self.done += result.status == DONE
        self.failed += result.status == FAILED
        self._on_result(result)
