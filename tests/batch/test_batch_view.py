import io
from pathlib import Path

from personatalk_core.batch.batch_view import BatchView
from personatalk_core.batch.job import JobResult
from personatalk_core.batch.job_queue import JobQueue
from personatalk_core.batch.manifest import Job


class Terminal(io.StringIO):
    def isatty(self):
        return True


def queue_of(count):
    return JobQueue(
        [Job(n, Path("v"), Path("a"), f"{n}.mp4") for n in range(1, count + 1)], 0, lambda result: None
    )


def finish(queue, status):
    job = queue.take()
    queue.finish(JobResult(out=job.out, line=job.line, status=status, error="no" * (status == "failed")))


def test_the_line_counts_and_names_what_runs():
    queue, view = queue_of(4), BatchView(6, skipped=2, quiet=True)
    finish(queue, "done")
    finish(queue, "failed")
    queue.take()
    line = view.text(queue, {"3.mp4": ("rendering", 61, 100)})
    assert line == "batch 4/6 | 2 kept | 1 failed | 1 waiting | 3.mp4: rendering 61%"
    assert view.text(queue, {"3.mp4": ("starting", 0, 0)}, "no worker").endswith(
        "3.mp4: starting 0% | no worker"
    )


def test_a_file_gets_a_line_a_job_and_a_terminal_one_line_that_changes():
    for stream, ends in ((io.StringIO(), 3), (Terminal(), 1)):
        queue, view = queue_of(2), BatchView(2, stream=stream)
        view.show(queue, {})
        for _ in range(2):
            for _ in range(5):
                view.show(queue, {"x.mp4": ("tracking", 1, 2)})  # too soon to be drawn again
            finish(queue, "done")
            view.show(queue, {})
        view.close()
        assert stream.getvalue().count("\n") == ends and "batch 2/2" in stream.getvalue()


def test_quiet_says_nothing():
    stream = io.StringIO()
    view = BatchView(1, quiet=True, stream=stream)
    view.show(queue_of(1), {})
    view.close()
    assert stream.getvalue() == ""
