"""The table of what a second of video costs."""

from __future__ import annotations

import argparse

import pytest

from personatalk_core.dubbing.progress import Progress
from personatalk_core.errors import OptionsError
from personatalk_core.evaluation.speed import dub_cost
from personatalk_core.media.video_reader import probe


def _row(cpu: float, ram: float) -> dict:
    return {"cpu": cpu, "wall": 2.0, "ram_mib": ram, "vram_mib": 0.0, "threads": 2, "device": "cpu"}


def test_the_table_shows_medians_over_the_runs():
    text = dub_cost.table({"350x350": [_row(1.0, 900), _row(9.0, 1000), _row(3.0, 950)]})
    assert text.splitlines()[-1] == "| 350x350 | cpu, 2 threads | 3.0 | 2.0 | 950 | 0 |"


def test_a_clip_has_the_size_and_length_asked_for(tmp_path):
    dub_cost.write_close_up(tmp_path / "clip.mp4", 0.4, (640, 360))
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.frame_count) == (640, 360, 10)


@pytest.mark.parametrize("size", ["1920", "1921x1080", "x", "0x0"])
def test_an_impossible_size_is_refused_with_the_form_expected(size):
    parser = argparse.ArgumentParser()
    dub_cost.add_arguments(parser)
    with pytest.raises(OptionsError, match="expected WIDTHxHEIGHT"):
        dub_cost.run(parser.parse_args(["--sizes", size]), Progress())
