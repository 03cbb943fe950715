from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personatalk_core.batch.job import DONE, FAILED, JobResult
from personatalk_core.batch.job_queue import MAX_LOST, JobQueue
from personatalk_core.batch.manifest import Job

EVENTS = st.sampled_from(["done", "failed", "lost"])


def jobs(count):
    return [Job(line, Path("v"), Path("a"), f"{line}.mp4") for line in range(1, count + 1)]


def result(job, status=DONE):
    return JobResult(out=job.out, line=job.line, status=status, error="" if status == DONE else "no")


def test_jobs_leave_in_order_and_once():
    left = []
    queue = JobQueue(jobs(3), 0)
    while not queue.over:
        left.append(queue.finish(result(queue.take())))
    assert [(r.line, r.status) for r in left] == [(1, DONE), (2, DONE), (3, DONE)] and queue.take() is None


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_failing_job_is_tried_as_told_and_after_the_others(retries):
    queue = JobQueue(jobs(2), retries)
    order, left = [], []
    while not queue.over:
        job = queue.take()
        order.append(job.line)
        left.append(queue.finish(result(job, FAILED if job.line == 1 else DONE)))
    assert order == ([1, 2] + [1] * retries)
    assert {r.line: (r.status, r.attempts) for r in left if r} == {1: (FAILED, retries + 1), 2: (DONE, 1)}


def test_a_lost_job_comes_back_first_and_is_given_up_in_the_end():
    left = []
    queue = JobQueue(jobs(2), 5)
    for _ in range(MAX_LOST):
        job = queue.take()
        assert job.line == 1
        left.append(queue.lose(job, "ActorDiedError"))
    assert left[:-1] == [None] * (MAX_LOST - 1)
    assert (left[-1].line, left[-1].status, left[-1].lost) == (1, FAILED, MAX_LOST)
    assert "ActorDiedError" in left[-1].error
    queue.finish(result(queue.take()))
    assert queue.over


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 6), st.integers(0, 2), st.lists(st.tuples(st.integers(0, 5), EVENTS), max_size=60))
def test_whatever_happens_every_job_leaves_exactly_once(count, retries, events):
    left = []
    queue = JobQueue(jobs(count), retries)
    for worker, what in events:
        if len(queue.running) < 3:
            queue.take()
        if queue.running:
            job = queue.running[worker % len(queue.running)]
            left.append(queue.lose(job, "dead") if what == "lost" else queue.finish(result(job, what)))
    while not queue.over:
        for job in queue.running or [queue.take()]:
            left.append(queue.finish(result(job)))
    assert sorted(r.line for r in left if r) == list(range(1, count + 1))
