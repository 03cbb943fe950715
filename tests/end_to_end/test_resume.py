"""A dub that is killed at any moment goes on where it was and gives the very same file; a failure leaves no
half one."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import killed_dub
import pytest
from short_dub import command, environment, run, write_clip

from personatalk_core.tracking.landmarks import CHATTER

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("PERSONATALK_KILLS", "2"))  # 20 shows what the project promises; they take minutes
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="SIGKILL and fork need a POSIX system")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Path, Path]:
    return write_clip(tmp_path_factory.mktemp("clip"))


class Killer:
    """The process of ``killed_dub.py``."""

    def __init__(self, clip: tuple[Path, Path]) -> None:
        arguments = [sys.executable, killed_dub.__file__, *map(str, clip)]
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment() | {"PYTHONPATH": str(ROOT)},
        )
        assert self.process.stdout.readline().strip() == "ready"

    def dub(self, out: Path, moment: float | str = "-", verb: str = "dub") -> str:
        self.process.stdin.write(f"{out} {moment} {verb}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@pytest.fixture(scope="module")
def killer(clip):
    killer = Killer(clip)
    yield killer
    killer.close()


@pytest.fixture(scope="module")
def expected(killer, tmp_path_factory) -> tuple[bytes, float]:
    """The bytes of a dub that nobody interrupts, and its seconds."""
    out = tmp_path_factory.mktemp("uninterrupted") / "out.mp4"
    answer = killer.dub(out)
    assert answer.startswith("done")
    assert [p.name for p in out.parent.iterdir()] == ["out.mp4"]
    return out.read_bytes(), float(answer.split()[1])


def test_killed_at_random_moments_gives_the_identical_file(killer, expected, tmp_path):
    """SIGKILL at seeded random moments; every other run is killed twice before it may finish."""
    uninterrupted, seconds = expected
    moments, killed = random.Random(8), 0
    for number in range(KILLS):
        out = tmp_path / f"{number}.mp4"
        for _ in range(2 if number % 2 else 1):
            if killer.dub(out, moments.uniform(0.02, 0.98) * seconds) == "killed":
                killed += 1
                assert not out.exists() or out.read_bytes() == uninterrupted  # never half of it
        assert killer.dub(out).startswith("done")
        assert out.read_bytes() == uninterrupted
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted(f"{k}.mp4" for k in range(number + 1))
    assert killed >= KILLS // 2


def test_killed_with_work_kept_goes_on_from_it(killer, expected, tmp_path):
    """SIGKILL once a window is finished: it lies in the working folder, is not written again, and the file is
    the same."""
    out = tmp_path / "out.mp4"
    folder = tmp_path / f".{out.name}.personatalk"
    assert killer.dub(out, "kept") == "killed"
    kept = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.safetensors")}
    assert kept and not out.exists()
    assert killer.dub(out, "kept") == "killed"  # at once: there is work already
    assert kept.items() <= {p.name: p.stat().st_mtime_ns for p in folder.glob("*.safetensors")}.items()
    assert killer.dub(out).startswith("done")
    assert out.read_bytes() == expected[0]
    assert [p.name for p in tmp_path.iterdir()] == [out.name]


def test_rendering_alone_is_taken_up_again_too(killer, tmp_path):
    """The same of ``render``, which gets its geometry from elsewhere."""
    uninterrupted, out = tmp_path / "uninterrupted.mp4", tmp_path / "out.mp4"
    assert killer.dub(uninterrupted, verb="render").startswith("done")
    assert killer.dub(out, "kept", "render") == "killed"
    assert not out.exists() and any((tmp_path / f".{out.name}.personatalk").glob("video-*.safetensors"))
    assert killer.dub(out, verb="render").startswith("done")
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "uninterrupted.mp4"]


def test_full_disk_is_one_sentence_and_the_work_is_kept(clip, tmp_path):
    """A limit on file size stands in for the disk: the tracked landmarks and segments fit, the joined file
    does not."""
    uninterrupted = tmp_path / "uninterrupted.mp4"
    assert run(*command(*clip, uninterrupted, "--lossless"), cwd=ROOT).returncode == 0
    out = tmp_path / "out.mp4"
    limit = uninterrupted.stat().st_size - 100
    child = (
        "import resource, sys, runpy; n = int(sys.argv[1]); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (n, n)); del sys.argv[1]; "
    )
    child += "runpy.run_module('personatalk_core', run_name='__main__')"
    failed = run(sys.executable, "-c", child, limit, *command(*clip, out, "--lossless")[3:], cwd=ROOT)
    folder = tmp_path / ".out.mp4.personatalk"
    assert failed.returncode == 2
    # MediaPipe speaks of alignment by chance
    said = [line for line in failed.stderr.splitlines() if not CHATTER.match(line.encode())]
    assert len(said) == 1 and "cannot be written" in said[0]
    assert f"kept in {folder}" in failed.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == [folder.name, "uninterrupted.mp4"]
    assert run(*command(*clip, out, "--lossless"), cwd=ROOT).returncode == 0
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert not folder.exists()


def test_vanished_source_is_one_sentence_and_the_work_is_kept(clip, tmp_path):
    """The video goes after tracking; put back, the same call finishes with the geometry that was kept."""
    from personatalk_core.config import DubOptions
    from personatalk_core.dubbing.progress import Progress
    from personatalk_core.errors import MediaError
    from personatalk_core.models import load_models
    from personatalk_core.pipeline import dub

    video, away, out = tmp_path / "v.mp4", tmp_path / "away.mp4", tmp_path / "out.mp4"
    video.write_bytes(clip[0].read_bytes())
    names = []

    class Vanishing(Progress):
        def show(self, name: str, done: int, total: int) -> None:
            names.append(name)
            if name == "speech to geometry" and video.exists():
                video.rename(away)

    options = DubOptions(device="cpu", lip_references=3, face_references=1)
    models = load_models(options)
    with pytest.raises(
        MediaError, match=r"v\.mp4 does not exist.*inished work is kept in .*\.out\.mp4\.personatalk"
    ):
        dub(video, clip[1], out, models, options, progress=Vanishing())
    assert not out.exists()
    away.rename(video)
    names.clear()

    class Watching(Progress):
        def show(self, name: str, done: int, total: int) -> None:
            names.append(name)

    dub(video, clip[1], out, models, options, progress=Watching())
    assert set(names) <= {"speech to geometry", "rendering"}  # tracking and fitting were finished
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.mp4", "v.mp4"]
