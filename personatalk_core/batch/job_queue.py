"""Which job runs next, which is tried again, and when it is over. Knows nothing of workers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from .job import FAILED, JobResult
from .manifest import Job

MAX_LOST = 3  # workers that one job may take with it before it is given up

StageProgress = tuple[str, int, int]  # stage, steps done, steps in all
JobResults = Generator[JobResult, None, None]
OnRunning = Callable[[Mapping[str, StageProgress], str], None]  # of each running job by its ``out``; a note


class JobRunner(Protocol):
    """Where jobs run: one by one in this process, or on Ray."""

    def map(self, jobs: Sequence[Job], retries: int, on_running: OnRunning) -> JobResults:
        """Run every job and yield its one result when it has ended for good.

        Args:
            jobs:       to run, in order.
            retries:    further attempts after a failed one, >= 0.
            on_running: called now and then with what is under way.
        """
        ...


class JobQueue:
    """Every job leaves exactly once, as the result of :meth:`finish` or :meth:`lose`; a worker that dies
    gives its job back.

    Args:
        jobs:    to run, in order.
        retries: further attempts after a failed one, >= 0.
    """

    def __init__(self, jobs: Sequence[Job], retries: int) -> None:
        self._waiting = deque(jobs)
        self._running: dict[int, Job] = {}
        self._attempts = {job.line: 0 for job in jobs}
        self._lost = {job.line: 0 for job in jobs}
        self._retries = retries

    @property
    def over(self) -> bool:
        """Nothing waits and nothing runs."""
        return not self._waiting and not self._running

    @property
    def running(self) -> list[Job]:
        """Jobs that were taken and have not come back."""
        return list(self._running.values())

    def take(self) -> Job | None:
        """The next job, or None where none waits."""
        if not self._waiting:
            return None
        job = self._waiting.popleft()
        self._running[job.line] = job
        return job

    def finish(self, result: JobResult) -> JobResult | None:
        """A run came to its end. A failed one goes to the back of the queue while attempts are left: None."""
        job = self._running.pop(result.line)
        self._attempts[job.line] += 1
        if result.status == FAILED and self._attempts[job.line] <= self._retries:
            self._waiting.append(job)
            return None
        return replace(result, attempts=self._attempts[job.line], lost=self._lost[job.line])

    def lose(self, job: Job, reason: str) -> JobResult | None:
        """The worker died: the job goes to the front again (None), unless it has taken several with it."""
        del self._running[job.line]
        self._lost[job.line] += 1
        if self._lost[job.line] < MAX_LOST:
            self._waiting.appendleft(job)
            return None
        return JobResult(
            out=job.out,
            line=job.line,
            status="failed",
            error=f"The worker died {MAX_LOST} times while it ran this job ({reason}); it may need more "
            "memory than a worker has.",
            attempts=self._attempts[job.line],
            lost=self._lost[job.line],
        )
