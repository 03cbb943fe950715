import io

from personatalk_core.batch.job import JobResult
from personatalk_core.batch.run_batch import BatchView


class Terminal(io.StringIO):
    def isatty(self):
        return True


def end(view, status):
    view.count(JobResult(out="o.mp4", line=1, status=status, error="no" * (status == "failed")))


def test_the_line_counts_and_names_what_runs():
    view = BatchView(6, kept=2, quiet=True)
    end(view, "done")
    end(view, "failed")
    line = view.text({"3.mp4": ("rendering", 61, 100)})
    assert line == "batch 4/6 | 2 kept | 1 failed | 1 waiting | 3.mp4: rendering 61%"
    assert view.text({"3.mp4": ("starting", 0, 0)}, "no worker").endswith("3.mp4: starting 0% | no worker")


def test_a_file_gets_a_line_a_job_and_a_terminal_one_line_that_changes():
    for stream, ends in ((io.StringIO(), 3), (Terminal(), 1)):
        view = BatchView(2, stream=stream)
        view.show({})
        for _ in range(2):
            for _ in range(5):
                view.show({"x.mp4": ("tracking", 1, 2)})  # too soon to be drawn again
            end(view, "done")
            view.show({})
        view.close()
        assert stream.getvalue().count("\n") == ends and "batch 2/2" in stream.getvalue()


def test_quiet_says_nothing():
    stream = io.StringIO()
    view = BatchView(1, quiet=True, stream=stream)
    view.show({})
    view.close()
    assert stream.getvalue() == ""
