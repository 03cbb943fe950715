from __future__ import annotations

import copy

import pytest

from personatalk_core.cli import main
from personatalk_core.errors import MediaError
from personatalk_core.evaluation.benchmark import check as quality_check
from personatalk_core.evaluation.benchmark.check import BASELINE, PROTOCOLS, check_quality, load_baselines
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.video_reader import probe


@pytest.fixture
def measured(monkeypatch):
    """Numbers instead of dubs; returns what the next run will measure."""
    mean = {"psnr_lips": {"mean": 24.0}, "lmd": {"mean": 1.0}}
    result = {
        "clips": ["man.mp4", "woman.mp4"],
        "frames": 30,
        "rows": {"reconstruction": {"title": "renderer alone", "mean": mean}},
    }
    monkeypatch.setattr(quality_check, "benchmark_quality", lambda *_, **__: copy.deepcopy(result))
    return result


def test_a_regression_is_named_and_an_improvement_is_not(measured, tmp_path):
    given = {"baseline": tmp_path / "b.json", "corpus": tmp_path / "nowhere"}
    notes, worse = check_quality(tmp_path / "out", None, store=True, **given)
    assert not worse and "left out" in notes[0] and list(load_baselines(tmp_path / "b.json")) == ["sample"]
    assert check_quality(tmp_path / "out", None, **given)[1] == []
    measured["rows"]["reconstruction"]["mean"]["psnr_lips"]["mean"] = 20.0
    measured["rows"]["reconstruction"]["mean"]["lmd"]["mean"] = 0.5
    notes, worse = check_quality(tmp_path / "out", None, **given)
    assert len(worse) == 1 and "PSNR lips is 20" in worse[0] and "1 got worse" in notes[-1]


def test_the_samples_get_the_spoken_line(measured, tmp_path):
    check_quality(tmp_path / "out", None, tmp_path / "b.json", tmp_path / "nowhere", store=True)
    for name in ("man", "woman"):
        info = probe(tmp_path / "out" / "clips" / f"{name}.mp4")
        assert info.has_audio and float(info.rate) == pytest.approx(15.0)
        assert abs(read_audio(info.path).samples).max() > 0.05


def test_without_stored_numbers_it_says_so(measured, tmp_path):
    with pytest.raises(MediaError, match="holds no quality baselines"):
        check_quality(tmp_path / "out", None, tmp_path / "none.json", tmp_path / "nowhere")


def test_the_command_fails_on_a_regression(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(quality_check, "load_models", lambda *_: None)
    given = [
        "study",
        "quality",
        "--out",
        str(tmp_path / "out"),
        "--baseline",
        str(tmp_path / "b.json"),
        "--corpus",
        str(tmp_path / "nowhere"),
    ]
    assert main(given) == 2
    assert main([*given, "--store"]) == 0
    assert main(given) == 0
    measured["rows"]["reconstruction"]["mean"]["lmd"]["mean"] = 3.0
    with pytest.raises(SystemExit) as ended:
        main(given)
    assert ended.value.code == 1
    assert "LMD is 3" in capsys.readouterr().out


@pytest.mark.skipif(not BASELINE.is_file(), reason="no numbers are stored yet")
def test_the_stored_numbers_are_of_the_protocol():
    stored = load_baselines(BASELINE)
    assert "sample" in stored
    for name, baseline in stored.items():
        assert baseline["frames"] == PROTOCOLS[name].frames and set(baseline["rows"]) == set(
            PROTOCOLS[name].rows
        )
