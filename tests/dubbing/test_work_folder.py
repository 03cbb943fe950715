"""The working folder: one run, one key, whole entries, and nothing of anybody else's touched."""

from __future__ import annotations

import errno

import pytest
import torch

from personatalk_core.dubbing import run_cache as work_folder
from personatalk_core.dubbing.run_cache import cache_beside
from personatalk_core.errors import CacheLockedError, FaceError, MediaError


def stopped(out, inputs, error=KeyboardInterrupt, **choices):
    """A run that keeps one entry and stops."""
    with pytest.raises(error), cache_beside(out, inputs, **choices) as work:
        work.save("window", {"x": torch.arange(3.0)}, {"n": 1})
        raise error("stopped")


def test_success_leaves_nothing(tmp_path):
    with cache_beside(tmp_path / "o.mp4", {"video": "a"}) as work:
        work.save("window", {"x": torch.zeros(2)})
        assert work.folder == tmp_path / ".o.mp4.personatalk"
    assert not list(tmp_path.iterdir())


def test_the_same_inputs_find_what_was_kept_and_others_discard_it(tmp_path):
    out = tmp_path / "o.mp4"
    stopped(out, {"video": "a", "seed": 1})
    (tmp_path / ".o.mp4.personatalk" / ".window.safetensors.half").write_bytes(b"torn")
    with cache_beside(out, {"seed": 1, "video": "a"}) as work:
        kept = work.load("window")
        assert kept.tensors["x"].tolist() == [0, 1, 2] and kept.config == {"n": 1}
        assert work.load("nothing") is None and not work.remarks
        assert not list(work.folder.glob(".window*"))
    stopped(out, {"video": "a", "seed": 1})
    with cache_beside(out, {"video": "a", "seed": 2}) as work:
        assert work.load("window") is None
        assert work.remarks == ["Unfinished work of an earlier run was discarded; it differed in seed."]


def test_a_damaged_entry_counts_as_none(tmp_path):
    stopped(tmp_path / "o.mp4", {})
    entry = tmp_path / ".o.mp4.personatalk" / "window.safetensors"
    entry.write_bytes(entry.read_bytes()[:-4])
    with cache_beside(tmp_path / "o.mp4", {}) as work:
        assert work.load("window") is None


def test_two_runs_on_one_output_do_not_meet(tmp_path):
    with (
        cache_beside(tmp_path / "o.mp4", {}),
        pytest.raises(CacheLockedError, match="Another run is writing"),
        cache_beside(tmp_path / "o.mp4", {}),
    ):
        pass
    with cache_beside(tmp_path / "o.mp4", {}):
        pass


def test_what_can_be_cured_is_kept_and_named(tmp_path):
    folder = tmp_path / ".o.mp4.personatalk"
    with (
        pytest.raises(MediaError, match=r"gone\. Finished work is kept in .*\.o\.mp4\.personatalk"),
        cache_beside(tmp_path / "o.mp4", {}) as work,
    ):
        work.save("window", {"x": torch.zeros(1)})
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
        cache_beside(tmp_path / "o.mp4", {}) as work,
    ):
        work.save("window", {"x": torch.zeros(1)})
        monkeypatch.setattr("personatalk_core.weights.checkpoint.os.replace", full)
        work.save("next", {"x": torch.zeros(1)})
    monkeypatch.undo()
    with pytest.raises(MediaError, match="No space left on device"), cache_beside(tmp_path / "p.mp4", {}):
        full()
    monkeypatch.setattr(work_folder, "write_atomically", full)
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
    with cache_beside(tmp_path / "b.mp4", {"video": "a"}, folder=tmp_path / "work") as work:
        assert work.load("window") is not None
    assert not list((tmp_path / "work").iterdir())
