"""The same input, seed and device give the same bytes: again, beside other dubs, in other processes, and
after a cancel."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import killed_dub
import pytest
import short_dub

from personatalk_core.config import DubOptions
from personatalk_core.dubbing.progress import Progress
from personatalk_core.errors import MediaError

ROOT = Path(__file__).resolve().parents[2]
LONGEST_STEP = 1.0  # seconds of computing between two questions whether to go on


class Watch(Progress):
    """Notes the longest time this thread computed between two progress steps; raises at one of them."""

    def __init__(self, cancel_at: tuple[str, int] | None = None) -> None:
        super().__init__()
        self.cancel_at, self.longest, self._last = cancel_at, 0.0, time.thread_time()

    def show(self, name: str, done: int, total: int) -> None:
        now = time.thread_time()
        self.longest, self._last = max(self.longest, now - self._last), now
        if self.cancel_at is not None and (name, done) >= self.cancel_at and name == self.cancel_at[0]:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Path, Path]:
    return short_dub.write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def dub(clip):
    """Dub the clip to a path; the models are loaded once and shared."""
    import torch

    from personatalk_core.models import load_models
    from personatalk_core.pipeline import dub

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the other processes have it: bytes belong to a number of threads
    options = DubOptions(device="cpu", lip_references=3, face_references=1)
    models = load_models(options)

    def run(out: Path, progress: Progress | None = None) -> bytes:
        dub(*clip, out, models, options, progress=progress)
        return out.read_bytes()

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(dub, tmp_path_factory) -> tuple[bytes, Watch]:
    watch = Watch()
    return dub(tmp_path_factory.mktemp("alone") / "out.mp4", watch), watch


def test_two_dubs_in_one_process_give_the_bytes_of_one_alone(dub, alone, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(dub, [tmp_path / "a.mp4", tmp_path / "b.mp4"])
    assert first == second == alone[0]


def test_one_output_belongs_to_one_run(dub, alone, tmp_path):
    """The second of two dubs to one path is refused in a sentence; the first finishes."""
    out, refused = tmp_path / "out.mp4", []

    class Intruding(Progress):
        def show(self, name: str, done: int, total: int) -> None:
            if name == "geometry" and not refused:
                with pytest.raises(MediaError, match="Another run is writing") as caught:
                    dub(out)
                refused.append(str(caught.value))

    assert dub(out, Intruding()) == alone[0]
    assert len(refused) == 1


@pytest.mark.parametrize("at", [("geometry", 16), ("rendering", 5)])
def test_cancel_leaves_nothing_but_work_to_go_on_from(dub, alone, tmp_path, at):
    out = tmp_path / "out.mp4"
    with pytest.raises(KeyboardInterrupt):
        dub(out, Watch(at))
    assert [p.name for p in tmp_path.iterdir()] in ([], [".out.mp4.personatalk"])
    assert dub(out) == alone[0]
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]


def test_cancel_is_heard_within_a_second(alone):
    assert alone[1].longest < LONGEST_STEP


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runner forks")
def test_four_dubs_in_four_processes_give_the_bytes_of_one_alone(clip, alone, tmp_path):
    runner = subprocess.Popen(
        [sys.executable, killed_dub.__file__, *map(str, clip), "--usual-windows"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=short_dub.environment() | {"PYTHONPATH": str(ROOT)},
    )
    outs = [tmp_path / f"{k}.mp4" for k in range(4)]
    answers, _ = runner.communicate(f"{','.join(map(str, outs))} -\n")
    assert [line.split()[0] for line in answers.splitlines()] == ["ready", "done"]
    assert {out.read_bytes() for out in outs} == {alone[0]}
