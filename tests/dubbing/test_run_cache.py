"""The cache of a run: one run, one key, whole entries, and nothing of anybody else's touched."""

from __future__ import annotations

import errno
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from personatalk_core.dubbing import run_cache
from personatalk_core.dubbing.run_cache import cache_beside
from personatalk_core.errors import CacheLockedError, FaceError, MediaError


def stopped(out, inputs, error=KeyboardInterrupt, **choices):
    """A run that keeps one entry and stops."""
    with pytest.raises(error), cache_beside(out, inputs, **choices) as cache:
        cache.save("window", {"x": torch.arange(3.0)}, {"n": 1})
        raise error("stopped")


def test_success_leaves_nothing(tmp_path):
    with cache_beside(tmp_path / "o.mp4", {"video": "a"}) as cache:
        cache.save("window", {"x": torch.zeros(2)})
        assert cache.folder == tmp_path / ".o.mp4.personatalk"
    assert not list(tmp_path.iterdir())


def test_the_same_inputs_find_what_was_kept_and_others_discard_it(tmp_path):
    out = tmp_path / "o.mp4"
    stopped(out, {"video": "a", "seed": 1})
    (tmp_path / ".o.mp4.personatalk" / ".window.safetensors.half").write_bytes(b"torn")
    with cache_beside(out, {"seed": 1, "video": "a"}) as cache:
        kept = cache.load("window")
        assert kept.tensors["x"].tolist() == [0, 1, 2] and kept.config == {"n": 1}
        assert cache.load("nothing") is None and not cache.remarks
        assert not list(cache.folder.glob(".window*"))
    stopped(out, {"video": "a", "seed": 1})
    with cache_beside(out, {"video": "a", "seed": 2}) as cache:
        assert cache.load("window") is None
        assert cache.remarks == ["Unfinished work of an earlier run was discarded; it differed in seed."]


def test_a_damaged_entry_counts_as_none(tmp_path):
    stopped(tmp_path / "o.mp4", {})
    entry = tmp_path / ".o.mp4.personatalk" / "window.safetensors"
    entry.write_bytes(entry.read_bytes()[:-4])
    with cache_beside(tmp_path / "o.mp4", {}) as cache:
        assert cache.load("window") is None


def test_two_runs_on_one_output_do_not_meet(tmp_path):
    with (
        cache_beside(tmp_path / "o.mp4", {}),
        pytest.raises(CacheLockedError, match="Another run is writing"),
        cache_beside(tmp_path / "o.mp4", {}),
    ):
        pass
    with cache_beside(tmp_path / "o.mp4", {}):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="a lock that others ask for outlives its run there")
def test_a_folder_that_a_finishing_run_removes_is_made_again_and_never_shared(tmp_path):
    """Every run removes the folder when it ends; whoever waits for the lock must not get the removed one."""
    inside, alone = [], []

    def run(number):
        for _ in range(25):
            try:
                with cache_beside(tmp_path / "o.mp4", {}) as cache:
                    inside.append(number)
                    cache.save("window", {"x": torch.zeros(1)})
                    alone.append(len(inside) == 1 and cache.path("lock").is_file())
                    inside.remove(number)
            except CacheLockedError:
                continue

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(run, range(4)))
    assert len(alone) >= 25 and all(alone)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_lets_go_of_its_folder(tmp_path):
    folder = tmp_path / ".o.mp4.personatalk"
    folder.mkdir()
    code = (
        "import sys, time, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); "
        "print('held', flush=True); "
        "time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(folder / run_cache.LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(CacheLockedError), cache_beside(tmp_path / "o.mp4", {}):
            pass
        other.kill()
    with cache_beside(tmp_path / "o.mp4", {}):
        pass
    assert not list(tmp_path.iterdir())


def test_what_can_be_cured_is_kept_and_named(tmp_path):
    folder = tmp_path / ".o.mp4.personatalk"
    with (
        pytest.raises(MediaError, match=r"gone\. Finished work is kept in .*\.o\.mp4\.personatalk"),
        cache_beside(tmp_path / "o.mp4", {}) as cache,
    ):
        cache.save("window", {"x": torch.zeros(1)})
        raise MediaError("The video is gone.")
    assert folder.is_dir()
    stopped(tmp_path / "o.mp4", {}, FaceError)  # running it again would not help
    assert not folder.exists()
    stopped(tmp_path / "o.mp4", {}, keep=False)
    assert not folder.exists()
    with pytest.raises(KeyboardInterrupt), cache_beside(tmp_path / "o.mp4", {}):
        raise KeyboardInterrupt  # nothing was finished
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(MediaError, match="No space left on device.*kept in"),
        cache_beside(tmp_path / "o.mp4", {}) as cache,
    ):
        cache.save("window", {"x": torch.zeros(1)})
        monkeypatch.setattr("personatalk_core.weights.checkpoint.os.replace", full)
        cache.save("next", {"x": torch.zeros(1)})
    monkeypatch.undo()
    with pytest.raises(MediaError, match="No space left on device"), cache_beside(tmp_path / "p.mp4", {}):
        full()
    monkeypatch.setattr(run_cache, "write_atomically", full)
    with pytest.raises(MediaError, match="cannot be written.*No space"), cache_beside(tmp_path / "q.mp4", {}):
        pass


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(MediaError, match="cannot be written"), cache_beside(tmp_path / "file" / "o.mp4", {}):
        pass


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    folder = tmp_path / ".o.mp4.personatalk"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"precious")
    with pytest.raises(MediaError, match="not PersonaTalk's"), cache_beside(tmp_path / "o.mp4", {}):
        pass
    assert (folder / "holiday.jpg").read_bytes() == b"precious"


def test_another_folder_is_named_by_its_key(tmp_path):
    stopped(tmp_path / "a.mp4", {"video": "a"}, folder=tmp_path / "work")
    with cache_beside(tmp_path / "b.mp4", {"video": "a"}, folder=tmp_path / "work") as cache:
        assert cache.load("window") is not None
    assert not list((tmp_path / "work").iterdir())
