from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from personatalk_core.config import DubOptions
from personatalk_core.errors import MediaError, OptionsError
from personatalk_core.evaluation.quality_benchmark import benchmark_quality, means, read_lags
from personatalk_core.evaluation.quality_report import line_plot, markdown_table, write_report
from personatalk_core.evaluation.quality_rows import in_step
from personatalk_core.media.audio import read_audio


def scores(**metrics):
    curve = {"lags": [-1, 0, 1], "r": [0.1, 0.9, 0.2]}
    return {"metrics": metrics, "sync_curve": curve, "series": {"seen": [0.0, 1.0], "source": [0.0, 1.0], "heard": [1.0, 0.0]}}


@pytest.fixture
def result():
    clips = {"a.mp4": scores(ssim=0.9, sync_r=0.5), "b.mp4": scores(ssim=0.8, sync_r=0.7)}
    rows = {
        "self_dub": {"title": "self-dub", "clips": clips, "mean": means([s["metrics"] for s in clips.values()])},
        "unchanged": {"title": "source mouth unchanged", "clips": {"a.mp4": scores(leak=1.0)}, "mean": means([{"leak": 1.0}])},
    }
    return {"personatalk": "0", "weights": {}, "clips": ["a.mp4", "b.mp4"], "frames": 40, "left_out": {"c.mp4": "no sound"}, "rows": rows}


def test_means_and_standard_errors(result):
    found = result["rows"]["self_dub"]["mean"]["ssim"]
    assert found["mean"] == pytest.approx(0.85) and found["clips"] == 2
    assert found["error"] == pytest.approx(0.05)  # deviation 0.0707 over the root of 2


def test_the_table_shows_every_row_and_leaves_gaps_empty(result):
    text = markdown_table(result)
    assert "| self-dub | 0.850 | 0.600 |  |" in text
    assert "| source mouth unchanged |  |  | 1.000 |" in text
    assert "SSIM ↑" in text and "no sound" in text and "first 40 frames" in text


def test_the_report_is_three_files_and_the_page_needs_nothing_from_outside(result, tmp_path):
    write_report(result, tmp_path, {})
    assert json.loads((tmp_path / "quality.json").read_text())["clips"] == ["a.mp4", "b.mp4"]
    page = (tmp_path / "quality.html").read_text()
    assert "<svg" in page and "http" not in page and page.count("<h2>") == 2
    assert (tmp_path / "quality.md").read_text().startswith("| |")


def test_a_plot_spans_its_box():
    svg = line_plot({"seen": [0.0, 2.0]}, [0.0, 1.0], "t", width=100, height=100)
    assert "10.0,88.0 90.0,22.0" in svg


def test_lags_come_from_the_index_beside_or_above(tmp_path):
    (tmp_path / "test").mkdir()
    assert read_lags(tmp_path / "test") == {}
    (tmp_path / "INDEX.tsv").write_text("file\tsplit\tav_lag_frames\ntest/a.mp4\ttest\t-2\ntest/b.mp4\ttest\t\n")
    assert read_lags(tmp_path / "test") == {"a.mp4": -2.0}


@pytest.mark.parametrize("lag", [2.0, -2.0])
def test_sound_moves_with_the_mouth(tmp_path, lag):
    ramp = np.linspace(0, 1, 16000, dtype=np.float32)
    wavfile.write(tmp_path / "a.wav", 16000, ramp)
    moved = read_audio(in_step(tmp_path / "a.wav", tmp_path / "out" / "a.wav", lag)).samples[0]
    assert len(moved) == 16000 + lag * 640
    assert moved[0] == pytest.approx(0.0 if lag > 0 else ramp[1280], abs=1e-4)
    if lag > 0:  # the mouth is late, so the sound is delayed
        assert not moved[:1280].any() and moved[1280 + 8000] == pytest.approx(ramp[8000], abs=1e-4)


def test_bad_requests_are_refused_before_any_work(models, tmp_path):
    with pytest.raises(OptionsError, match="not a row"):
        benchmark_quality(tmp_path, tmp_path, models, DubOptions(), rows=["nonsense"])
    with pytest.raises(MediaError, match="not a folder"):
        benchmark_quality(tmp_path / "nowhere", tmp_path, models, DubOptions())
    with pytest.raises(MediaError, match="needs two"):
        benchmark_quality(tmp_path, Path(tmp_path) / "out", models, DubOptions())
