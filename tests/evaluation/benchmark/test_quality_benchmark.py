from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from personatalk_core.config import DubOptions
from personatalk_core.dubbing.run import Run
from personatalk_core.errors import MediaError, OptionsError
from personatalk_core.evaluation.benchmark import rows as quality_rows
from personatalk_core.evaluation.benchmark import run as quality_benchmark
from personatalk_core.evaluation.benchmark.clips import choose_clips, read_lags
from personatalk_core.evaluation.benchmark.report import (
    figure_5,
    line_plot,
    markdown_table,
    write_report,
)
from personatalk_core.evaluation.benchmark.rows import in_step
from personatalk_core.evaluation.benchmark.run import BenchmarkOptions, benchmark_quality, means
from personatalk_core.evaluation.speed.synthetic_clip import synthetic_clip
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.media.video_reader import probe
from personatalk_core.media.video_writer import VideoWriter
from personatalk_core.types import AudioClip, Timeline


def scores(**metrics):
    curve = {"lags": [-1, 0, 1], "r": [0.1, 0.9, 0.2]}
    return {
        "metrics": metrics,
        "sync_curve": curve,
        "series": {"seen": [0.0, 1.0], "source": [0.0, 1.0], "heard": [1.0, 0.0]},
    }


@pytest.fixture
def result():
    clips = {"a.mp4": scores(ssim=0.9, sync_r=0.5), "b.mp4": scores(ssim=0.8, sync_r=0.7)}
    rows = {
        "self_dub": {
            "title": "self-dub",
            "clips": clips,
            "mean": means([s["metrics"] for s in clips.values()]),
        },
        "unchanged": {
            "title": "source mouth unchanged",
            "audio": "foreign",
            "clips": {"a.mp4": scores(leak=1.0)},
            "mean": means([{"leak": 1.0}]),
        },
    }
    return {
        "personatalk": "0",
        "weights": {},
        "clips": ["a.mp4", "b.mp4"],
        "frames": 40,
        "left_out": {"c.mp4": "no sound"},
        "rows": rows,
    }


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
    assert (
        "<svg" in page and "http" not in page and page.count(".mp4</h2>") == 2 and "c.mp4: no sound" in page
    )
    assert "Table 1" not in page  # of one row there is nothing to compare
    assert (tmp_path / "quality.md").read_text().startswith("## All metrics")


def test_a_plot_spans_its_box():
    svg = line_plot({"seen": [0.0, 2.0]}, [0.0, 1.0], "t", width=100, height=100)
    assert "10.0,88.0 90.0,22.0" in svg


def test_lags_come_from_the_index_beside_or_above(tmp_path):
    (tmp_path / "test").mkdir()
    assert read_lags(tmp_path / "test") == {}
    (tmp_path / "INDEX.tsv").write_text(
        "file\tsplit\tav_lag_frames\ntest/a.mp4\ttest\t-2\ntest/b.mp4\ttest\t\n"
    )
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


@pytest.fixture(scope="module")
def folder(face_model, tmp_path_factory):
    """Two synthetic talkers with sound, and a clip without."""
    data = tmp_path_factory.mktemp("talkers")
    geometries = {}
    for seed, name in enumerate(("ann", "ben", "mute")):
        clip = synthetic_clip(face_model, 44, seed=seed)
        generator = np.random.default_rng(seed)
        sound = (generator.standard_normal(44 * 640) * np.repeat(generator.random(44), 640) * 0.2).astype(
            np.float32
        )
        timeline = Timeline(np.arange(44), np.arange(44) / 25, np.full(44, 1 / 25))
        audio = None if name == "mute" else AudioClip(sound[None], 16000)
        with VideoWriter(data / f"{name}.mp4", 256, 256, timeline, audio=audio, lossless=True) as video:
            for _ in range(44):
                video.write((clip.pixels[0].permute(1, 2, 0) * 255).round().byte().numpy())
        geometries[name] = replace(clip.geometry, source=probe(data / f"{name}.mp4").sha256)
    return data, geometries


@pytest.fixture
def known(folder, models, monkeypatch):
    """Geometry by file name instead of tracking, and geometry that speaks without networks."""
    data, geometries = folder

    def tracked(info):
        return geometries[info.path.stem][range(info.frame_count)]

    monkeypatch.setattr(quality_rows.pipeline, "estimate_geometry", lambda info, *_: tracked(info))

    def animate(geometry, audio, *_, **__):
        return replace(geometry, reference=geometry)

    monkeypatch.setattr(quality_rows.pipeline, "animate", animate)
    monkeypatch.setattr(type(models), "check_face_model", lambda *_: None)
    return data


def run(data, out, models, **choices):
    options = BenchmarkOptions(frames=36, most_frames=8, **choices)
    return benchmark_quality(data, out, Run(models, DubOptions(provenance=False)), options)


def test_rows_are_dubbed_scored_and_written(known, models, tmp_path):
    rows = ["ground_truth", "self_dub", "unchanged", "nearest_mouth", "without_lip_attention", "ridge_speech"]
    result = run(known, tmp_path, models, rows=rows, clips=["ann"])
    assert result["clips"] == ["ann.mp4"] and result["left_out"]["mute.mp4"] == "no sound"
    mean = {name: row["mean"] for name, row in result["rows"].items()}
    assert (
        mean["ground_truth"]["ssim"]["mean"] == pytest.approx(1.0)
        and mean["ground_truth"]["lmd"]["mean"] == 0.0
    )
    assert (
        mean["unchanged"]["leak"]["mean"] == pytest.approx(1.0, abs=1e-4) and "ssim" not in mean["unchanged"]
    )
    assert mean["self_dub"]["psnr"]["clips"] == 1, result["left_out"]
    assert probe(tmp_path / "nearest_mouth" / "ann.mp4").frame_count == 36
    assert any("--pretrained" in why for name, why in result["left_out"].items() if name.startswith("ridge"))
    assert (tmp_path / "quality.html").is_file() and "Table 4" in (tmp_path / "quality.md").read_text()
    assert (tmp_path / "pairs.tsv").read_text().splitlines()[1:] == ["ann.mp4\tsound/ann.wav\tsound/ben.wav"]


def test_a_killed_run_goes_on_by_clip_and_row(known, models, tmp_path, monkeypatch):
    made = []

    def copy(clip, out, tools):
        made.append(out.stem)
        if len(made) == 2:
            raise KeyboardInterrupt
        shutil.copy(clip.video, out)

    monkeypatch.setitem(quality_rows.ROWS, "self_dub", replace(quality_rows.ROWS["self_dub"], make=copy))
    monkeypatch.setattr(quality_benchmark, "ROWS", quality_rows.ROWS)
    with pytest.raises(KeyboardInterrupt):
        run(known, tmp_path, models, rows=["self_dub"])
    assert json.loads((tmp_path / "quality.json").read_text())["clips"] == ["ann.mp4"]
    run(known, tmp_path, models, rows=["self_dub"])
    run(known, tmp_path, models, rows=["self_dub"])
    assert made == ["ann", "ben", "ben"]


def test_somebody_elses_outputs_are_scored_by_name_and_missing_ones_listed(known, models, tmp_path):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shutil.copy(known / "ann.mp4", theirs / "ann.mp4")
    result = run(
        known,
        tmp_path / "out",
        models,
        rows=["ground_truth"],
        outputs={"Wav2Lip": theirs},
        foreign_outputs={"Wav2Lip": theirs},
    )
    assert result["rows"]["output_Wav2Lip"]["mean"]["ssim"] == {
        "mean": pytest.approx(1.0),
        "error": 0.0,
        "clips": 1,
    }
    assert "leak" in result["rows"]["foreign_Wav2Lip"]["mean"]
    assert "missing" in result["left_out"]["Wav2Lip: ben.mp4"]
    assert "missing" in (tmp_path / "out" / "quality.md").read_text()


def test_clips_are_chosen_by_number_or_name_and_still_speak_the_next_ones_words(known, models, tmp_path):
    result = run(known, tmp_path, models, rows=["ground_truth"], clips=["ben"])
    assert result["clips"] == ["ben.mp4"] and (tmp_path / "sound" / "ann.wav").is_file()
    assert run(known, tmp_path / "one", models, rows=["ground_truth"], clips=["1"])["clips"] == ["ann.mp4"]
    with pytest.raises(OptionsError, match="no clip begins with 'eve'"):
        run(known, tmp_path, models, clips=["eve"])
    with pytest.raises(OptionsError, match="1 or more"):
        choose_clips([], ["0"])


def test_seconds_say_how_much_of_a_clip_is_dubbed(known, models, tmp_path):
    options = BenchmarkOptions(rows=["ground_truth"], seconds=1.4, most_frames=1, clips=["ann"])
    result = benchmark_quality(known, tmp_path, Run(models), options)
    assert result["rows"]["ground_truth"]["clips"]["ann.mp4"]["frames"] == 35
    with pytest.raises(OptionsError, match="both frames and seconds"):
        benchmark_quality(known, tmp_path, Run(models), BenchmarkOptions(frames=3, seconds=1.0))


def test_figure_5_shows_originals_and_what_was_generated():
    def styled(vectors):
        return scores() | {"styles": {"source": vectors, "output": vectors}}

    clips = {"ann__x.mp4": styled([[1.0, 0.0], [0.9, 0.1]]), "ben.mp4": styled([[0.0, 1.0]])}
    rows = {"ground_truth": {"clips": clips}, "self_dub": {"clips": clips}}
    picture = figure_5({"rows": rows})
    assert picture.count("<circle") == 3 and picture.count("<path") == 3 and ">ann<" in picture
    assert figure_5({"rows": {"ground_truth": rows["ground_truth"]}}) == ""


def test_bad_requests_are_refused_before_any_work(models, tmp_path):
    with pytest.raises(OptionsError, match="not a row"):
        benchmark_quality(tmp_path, tmp_path, Run(models), BenchmarkOptions(rows=["nonsense"]))
    with pytest.raises(MediaError, match="not a folder"):
        benchmark_quality(tmp_path / "nowhere", tmp_path, Run(models))
    with pytest.raises(MediaError, match="needs two"):
        benchmark_quality(tmp_path, Path(tmp_path) / "out", Run(models))
