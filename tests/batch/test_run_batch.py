import errno
import json
import os
import subprocess
import sys

import pytest

from personatalk_core.batch.job import ResultsFile
from personatalk_core.batch.run_batch import BatchOptions, run_batch
from personatalk_core.cli.parser import main
from personatalk_core.config import DubOptions
from personatalk_core.errors import DependencyError, OptionsError

BASE = DubOptions(device="cpu")


def job(name, **more):
    return {"video": f"{name}.mp4", "audio": "a.wav", "out": f"{name}.mp4", **more}


def lines(folder):
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


@pytest.fixture
def run(write_manifest, tmp_path, quick_dub):
    def go(entries, **options):
        return run_batch(
            write_manifest(entries), tmp_path / "out", BASE, BatchOptions("one-by-one", quiet=True, **options)
        )

    return go


def test_one_result_line_a_job_and_the_others_go_on(run, tmp_path, quick_dub):
    summary = run([job("one"), job("bad"), job("bug"), job("two", length="loop")], retries=1)
    assert quick_dub == ["one.mp4", "bad.mp4", "bug.mp4", "two.mp4", "bad.mp4", "bug.mp4"]
    found = {entry["out"]: entry for entry in lines(tmp_path / "out")}
    assert len(lines(tmp_path / "out")) == 4 and set(found) == {"one.mp4", "bad.mp4", "bug.mp4", "two.mp4"}
    assert (found["one.mp4"]["status"], found["one.mp4"]["dubbed"], found["one.mp4"]["passed_through"]) == (
        "done",
        1,
        {"side": 1},
    )
    assert (found["bad.mp4"]["status"], found["bad.mp4"]["attempts"]) == ("failed", 2)
    assert "is bad; export it again." in found["bad.mp4"]["error"]  # one line, the stage's own sentence
    assert "ZeroDivisionError" in found["bug.mp4"]["error"]
    assert [r.line for r in summary.failed] == [2, 3] and summary.done == 2
    assert (tmp_path / "out" / "two.mp4").read_bytes().endswith(b"loop")
    assert json.loads((tmp_path / "out" / "one.report.json").read_text())["frames"] == 2


def test_finished_jobs_are_kept_and_changed_ones_run_again(run, tmp_path, quick_dub):
    entries = [job("one"), job("two"), job("three"), job("bad")]
    run(entries)
    del quick_dub[:]
    assert run(entries).kept == 3 and quick_dub == ["bad.mp4"]  # a failed one is tried again
    (tmp_path / "bad.mp4").rename(tmp_path / "good.mp4")
    entries[3] = job("good", out="bad.mp4")
    (tmp_path / "two.mp4").write_bytes(b"another take")  # an input has changed
    (tmp_path / "out" / "three.mp4").unlink()  # an output is gone
    entries[0] = job("one", seed=7)  # a choice has changed
    del quick_dub[:]
    assert run(entries).kept == 0 and sorted(quick_dub) == ["bad.mp4", "one.mp4", "three.mp4", "two.mp4"]
    assert sorted(e["out"] for e in lines(tmp_path / "out")) == ["bad.mp4", "one.mp4", "three.mp4", "two.mp4"]
    assert {e["status"] for e in lines(tmp_path / "out")} == {"done"}
    (tmp_path / "out" / "one.mp4").write_bytes(b"damaged")
    assert run(entries).kept == 3


def test_pictures_are_an_input_like_any_other(run, tmp_path, quick_dub, monkeypatch):
    from personatalk_core import pipeline
    from personatalk_core.types import DubReport

    def dub(video, audio, files, *_, **__):
        out = files.video
        quick_dub.append(out.name)
        out.write_bytes(b"dub")
        return DubReport(frames=1, dubbed=1)

    monkeypatch.setattr(pipeline, "dub", dub)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "f1.png").write_bytes(b"one")
    entry = {"video": "in/f%d.png@24", "audio": "a.wav", "out": "o.mp4"}
    assert (run([entry]).done, run([entry]).kept) == (1, 1)
    (tmp_path / "in" / "f1.png").write_bytes(b"another")
    assert run([entry]).kept == 0


def test_a_cache_that_a_dying_worker_holds_is_waited_for(run, monkeypatch, quick_dub):
    from personatalk_core import pipeline
    from personatalk_core.batch import job as job_module
    from personatalk_core.errors import CacheLockedError

    dub, held = pipeline.dub, [1, 1]

    def busy(*args, **more):
        if held:
            held.pop()
            raise CacheLockedError("Another run is writing here at this moment")
        return dub(*args, **more)

    monkeypatch.setattr(pipeline, "dub", busy)
    monkeypatch.setattr(job_module.time, "sleep", lambda seconds: None)
    assert run([job("one")]).done == 1 and not held


def test_lines_of_another_manifest_stay(run, write_manifest, tmp_path):
    run([job("one")])
    run([job("two")])
    assert [e["out"] for e in lines(tmp_path / "out")] == ["one.mp4", "two.mp4"]


def test_a_line_cut_off_by_a_kill_is_run_again(run, tmp_path, quick_dub):
    run([job("one"), job("two")])
    path = tmp_path / "out" / "results.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    del quick_dub[:]
    assert run([job("one"), job("two")]).kept == 1 and quick_dub == ["two.mp4"]
    assert len(lines(tmp_path / "out")) == 2


@pytest.mark.parametrize(
    "line",
    [b"\xff", b"[]", b'{"out": 1}', b'{"out": "one.mp4", "status": "done", "frames": "many"}', b"[" * 9999],
)
def test_foreign_lines_in_the_results_are_ignored(run, tmp_path, line):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_bytes(line + b"\n")
    assert run([job("one")]).done == 1


def test_two_batches_never_share_a_folder(run, tmp_path):
    with ResultsFile(tmp_path / "out"), pytest.raises(OptionsError, match="Another batch"):
        run([job("one")])
    assert run([job("one")]).done == 1


def test_a_file_system_without_locks_is_no_obstacle(run, monkeypatch):
    def unsupported(*_, **__):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr("personatalk_core.batch.job.FileLock.acquire", unsupported)
    assert run([job("one")]).done == 1


def test_an_output_folder_that_cannot_be_written_is_one_sentence(run, tmp_path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OptionsError, match="cannot be written to"):
        run([job("one")])


def test_nothing_runs_while_any_line_is_wrong(run, tmp_path, quick_dub):
    with pytest.raises(OptionsError, match="line 2"):
        run([job("one"), {"video": "v"}])
    assert not quick_dub and not (tmp_path / "out").exists()


def test_an_interrupt_ends_the_batch_and_keeps_what_is_done(run, tmp_path, monkeypatch, quick_dub):
    from personatalk_core import pipeline

    dub = pipeline.dub

    def stop(video, *args, **more):
        if "two" in video.name:
            raise KeyboardInterrupt
        return dub(video, *args, **more)

    monkeypatch.setattr(pipeline, "dub", stop)
    with pytest.raises(KeyboardInterrupt):
        run([job("one"), job("two")])
    assert [e["out"] for e in lines(tmp_path / "out")] == ["one.mp4"]


def test_the_command_lists_failures_and_exits_with_2(write_manifest, tmp_path, quick_dub, capsys):
    path = write_manifest([job("one"), job("bad")])
    command = [
        "batch",
        "--manifest",
        str(path),
        "--out",
        str(tmp_path / "out"),
        "--runner",
        "one-by-one",
        "--device",
        "cpu",
    ]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert (
        "1 of 2 jobs done" in said and "failed: line 2 (bad.mp4)" in said and "batch 2/2 | 1 failed" in said
    )
    (tmp_path / "bad.mp4").rename(tmp_path / "three.mp4")
    write_manifest([job("one"), job("three")])
    assert main(command) == 0
    assert "2 of 2 jobs done, 1 kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    "more",
    [["--retries", "-1"], ["--workers", "0"], ["--cpus-per-worker", "0"], ["--gpus-per-worker", "1.5"]],
)
def test_bad_choices_are_one_sentence(write_manifest, tmp_path, capsys, more, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", object())  # its presence is not the question here
    path = write_manifest([job("one")])
    assert (
        main(["batch", "--manifest", str(path), "--out", str(tmp_path / "out"), "--runner", "ray", *more])
        == 2
    )
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_asking_for_ray_where_it_is_not_says_how_to_get_it(write_manifest, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # makes `import ray` fail
    with pytest.raises(DependencyError, match="pip install"):
        run_batch(write_manifest([job("one")]), tmp_path / "out", BASE, BatchOptions("ray"))


def test_ray_is_never_imported_otherwise(tmp_path):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from personatalk_core.batch import run_batch, ray_runner\n"
        "from personatalk_core import pipeline; from personatalk_core.cli import parser\n"
        "parser.build_parser()\n"
        "print([m for m in sys.modules if m.split('.')[0] == 'ray' and sys.modules[m] is not None])"
    )
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert (
        subprocess.run(
            [sys.executable, "-c", code], env=paths, capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
