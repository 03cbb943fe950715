"""An hour takes no more memory than a minute, scaled down: windows of a few frames, so that seconds of video
stand for minutes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from personatalk_core.config import DubOptions
from personatalk_core.dubbing.progress import Progress
from personatalk_core.dubbing.run import OutputFiles
from personatalk_core.dubbing.run_cache import give_back_freed_memory
from personatalk_core.evaluation.speed.long_clip import write_long_clip, write_long_speech
from personatalk_core.evaluation.speed.stubs import dub_grey
from personatalk_core.models import load_models

MINUTES, SIZE, SEGMENT = 0.1, (320, 320), 10
FRAMES = 150
ALL_FRAMES_MIB = FRAMES * SIZE[0] * SIZE[1] * 3 / 2**20  # 44


class Watch(Progress):
    """What lives, in MiB, each time a segment has been finished."""

    def __init__(self) -> None:
        super().__init__()
        self.living: dict[str, list[float]] = {"tracking": [], "rendering": []}
        self._seen: set[tuple[str, int]] = set()

    def show(self, name: str, done: int, total: int) -> None:
        if name in self.living and done % SEGMENT == 1 and (name, done) not in self._seen:
            self._seen.add((name, done))
            give_back_freed_memory()
            with open("/proc/self/status") as lines:
                self.living[name].append(
                    next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024
                )


@pytest.fixture
def one_thread():
    """Each core that takes part has a heap of its own, whose pieces swing by more than what is looked for."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_lives_does_not_grow_with_the_frames_done(tmp_path):
    """A whole dub; only the networks' own work is cut short. Half of the coded or a tenth of the RGB frames
    kept would be seen."""
    options = DubOptions(device="cpu", lip_references=5)
    models, watch = load_models(options), Watch()
    if not give_back_freed_memory():
        pytest.skip(
            "this C library does not give freed memory back, so what lives cannot be told from what was freed"
        )
    write_long_clip(tmp_path / "clip.mp4", MINUTES, SIZE)
    write_long_speech(tmp_path / "speech.m4a", MINUTES)
    out = OutputFiles(tmp_path / "out.mp4", window=SEGMENT)
    report = dub_grey(tmp_path / "clip.mp4", tmp_path / "speech.m4a", out, models, options, watch)
    assert report.dubbed == report.frames == FRAMES
    for name, living in watch.living.items():
        assert len(living) == FRAMES // SEGMENT
        early, late = np.median(living[2:5]), np.median(living[-3:])
        assert late - early < 0.1 * ALL_FRAMES_MIB, (name, living)
