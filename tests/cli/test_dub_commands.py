"""The command line on the sample: the whole dub, the same stages one by one, exactness, and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from personatalk_core.cli import main
from personatalk_core.media.audio_stream import read_audio
from personatalk_core.samples.demo import DEMO_SPEECH, SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[2]


def decode(path: Path) -> np.ndarray:
    """All frames as (T, H, W, 3) uint8 RGB."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory) -> Path:
    """The first 1.2 s of the demo's line, so that a dub is 18 frames."""
    clip = read_audio(DEMO_SPEECH)
    target = tmp_path_factory.mktemp("speech") / "short.wav"
    with av.open(str(target), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=clip.sample_rate, layout="mono")
        samples = (clip.samples[:1, : int(1.2 * clip.sample_rate)] * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16", layout="mono")
        frame.sample_rate = clip.sample_rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return target


@pytest.fixture(scope="session")
def dubbed(sample_video, short_speech, tmp_path_factory) -> dict[str, Path]:
    """One lossless dub with mask and report."""
    folder = tmp_path_factory.mktemp("dub")
    paths = {"out": folder / "dub.mkv", "mask": folder / "mask.mp4", "report": folder / "report.json"}
    arguments = [
        "dub",
        "--video",
        sample_video,
        "--audio",
        short_speech,
        "--out",
        paths["out"],
        "--mask-out",
        paths["mask"],
    ]
    assert main([str(a) for a in [*arguments, "--report", paths["report"], "--lossless", "--quiet"]]) == 0
    return paths


def test_dub_has_exact_frame_count_rate_and_size(dubbed, sample_video):
    with av.open(str(dubbed["out"])) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == SAMPLE_RATE
        assert (stream.width, stream.height) == (350, 350)
        assert container.streams.audio
    assert len(decode(dubbed["out"])) == 18  # 1.2 s at 15 frames/s


def test_dub_moves_the_mouth_and_nothing_outside_the_mask(dubbed, sample_video):
    out, source, mask = decode(dubbed["out"]), decode(sample_video)[:18], decode(dubbed["mask"])[..., 0]
    changed = (out != source).any(-1)
    assert changed.any(axis=(1, 2)).all()
    assert not changed[mask == 0].any()
    assert (mask == 0).mean() > 0.7  # the mask is a lower face, not a frame


def test_report_says_what_happened(dubbed):
    report = json.loads(dubbed["report"].read_text())
    assert report["frames"] == report["dubbed"] == len(report["status"]) == 18
    assert report["passed_through"] == {}
    assert len(report["lip_references"]) == report["settings"]["lip_references"] == 50


def test_stage_by_stage_gives_the_same_video(dubbed, sample_video, short_speech, tmp_path):
    geometry, style, spoken, out = (
        tmp_path / n for n in ("g.safetensors", "s.safetensors", "g2.safetensors", "out.mkv")
    )
    steps = (
        ["geometry", sample_video, "--out", geometry],
        ["style", geometry, "--out", style],
        ["animate", "--geometry", geometry, "--audio", short_speech, "--style", style, "--out", spoken],
        ["render", "--video", sample_video, "--geometry", spoken, "--out", out, "--lossless"],
    )
    for step in steps:
        assert main([str(a) for a in [*step, "--quiet"]]) == 0
    assert np.array_equal(decode(out), decode(dubbed["out"]))


def test_reconstruct_reports_psnr(sample_video, tmp_path):
    report = tmp_path / "r.json"
    assert (
        main(
            [
                "reconstruct",
                str(sample_video),
                "--exclude-window",
                "6",
                "--out",
                str(tmp_path / "r.mp4"),
                "--report",
                str(report),
                "--quiet",
            ]
        )
        == 0
    )
    metrics = json.loads(report.read_text())["metrics"]
    assert metrics["psnr_face"] > 22 and metrics["psnr_lips"] > 18


def test_doctor_finds_and_verifies_the_bundled_weights(capsys):
    assert main(["doctor", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings["problems"] == []
    assert {entry["origin"] for entry in findings["weights"].values()} == {"bundled"}


def _write_video(path: Path, frames: np.ndarray) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def bad_input(tmp_path, sample_video):
    """Paths of broken or unsuitable files by name."""
    (tmp_path / "garbage.mp4").write_bytes(b"this is not a video" * 100)
    (tmp_path / "empty.wav").write_bytes(b"")
    _write_video(tmp_path / "no_face.mp4", np.full((10, 120, 160, 3), 90, np.uint8))
    canvas = np.full((6, 360, 640, 3), 40, np.uint8)
    small = decode(sample_video)[:6, 40:320:16, 40:320:16]
    canvas[:, 100 : 100 + small.shape[1], 200 : 200 + small.shape[2]] = small
    _write_video(tmp_path / "tiny_face.mp4", canvas)
    return tmp_path


@pytest.mark.parametrize(
    ("video", "audio", "words"),
    [
        ("missing.mp4", None, ["missing.mp4"]),
        ("garbage.mp4", None, ["garbage.mp4"]),
        ("empty.wav", None, ["empty.wav"]),
        (None, "missing.wav", ["missing.wav"]),
        (None, "garbage.mp4", ["garbage.mp4"]),
        (None, "empty.wav", ["empty.wav"]),
        (None, "no_face.mp4", ["audio"]),
        ("no_face.mp4", None, ["face"]),
        ("tiny_face.mp4", None, ["face"]),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_written(
    bad_input, sample_video, short_speech, capsys, video, audio, words
):
    out = bad_input / "out.mp4"
    before = sorted(p.name for p in bad_input.iterdir())
    video = bad_input / video if video else sample_video
    audio = bad_input / audio if audio else short_speech
    assert main(["dub", "--video", str(video), "--audio", str(audio), "--out", str(out), "--quiet"]) == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("personatalk: ") and message.count("\n") == 0
    assert all(word in message for word in words)
    assert sorted(p.name for p in bad_input.iterdir()) == before


def test_a_video_without_picture_is_refused(short_speech, tmp_path, capsys):
    assert (
        main(
            [
                "dub",
                "--video",
                str(short_speech),
                "--audio",
                str(short_speech),
                "--out",
                str(tmp_path / "o.mp4"),
                "--quiet",
            ]
        )
        == 2
    )
    assert "video" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--style-strength", "3"], ["--face", "index:-1"], ["--out", "o.txt"], ["--device", "cuda"]]
)
def test_bad_options_are_refused(sample_video, short_speech, tmp_path, capsys, arguments):
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has CUDA, so asking for it is no mistake")
    base = [
        "dub",
        "--video",
        str(sample_video),
        "--audio",
        str(short_speech),
        "--out",
        str(tmp_path / "o.mp4"),
        "--quiet",
    ]
    assert main(base + arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_files_of_another_face_model_are_refused(sample_video, short_speech, tmp_path, capsys):
    from dataclasses import replace

    from personatalk_core.geometry.geometry_file import load_geometry, save_geometry

    geometry, other = tmp_path / "g.safetensors", tmp_path / "other.safetensors"
    assert main(["geometry", str(sample_video), "--out", str(geometry), "--quiet"]) == 0
    save_geometry(other, replace(load_geometry(geometry), face_model="0" * 64))
    arguments = [
        "animate",
        "--geometry",
        str(other),
        "--audio",
        str(short_speech),
        "--out",
        str(tmp_path / "a.safetensors"),
        "--quiet",
    ]
    assert main(arguments) == 2
    assert "face model" in capsys.readouterr().err
    assert not (tmp_path / "a.safetensors").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupt_leaves_no_half_written_file(sample_video, short_speech, tmp_path):
    shutil.copy(sample_video, tmp_path / "v.mp4")
    command = [
        sys.executable,
        "-m",
        "personatalk_core",
        "dub",
        "--video",
        "v.mp4",
        "--audio",
        str(short_speech),
        "--out",
        "o.mp4",
        "--length",
        "loop",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a parent in the background may ignore it
    )
    seen = ""
    deadline = time.monotonic() + 120
    while "rendering" not in seen and time.monotonic() < deadline and process.poll() is None:
        seen += process.stderr.read(1)
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130, seen + rest
    # what the same command goes on from
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        ".o.mp4.personatalk",
        "v.mp4",
    ]


def test_evaluate_scores_a_dub(dubbed, sample_video, short_speech, tmp_path, capsys):
    arguments = [
        "evaluate",
        "--video",
        dubbed["out"],
        "--reference",
        sample_video,
        "--audio",
        short_speech,
        "--out",
        tmp_path / "s.json",
    ]
    assert main([str(a) for a in arguments]) == 0
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["frames"] == 18 and scores["own_sound"] is False
    assert len(scores["metrics"]) == len(capsys.readouterr().out.strip().splitlines()) > 5


@pytest.mark.parametrize(
    "arguments",
    [
        ["benchmark-quality", "--data", ".", "--out", "q", "--rows", "nonsense"],
        ["user-study", "--systems", "ours=nowhere", "--out", "s"],
        ["user-study", "--answers", "a.csv"],
        ["train", "speech", "--data", "nowhere", "--out", "t"],
    ],
)
def test_tools_refuse_bad_arguments_in_one_sentence(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--quiet"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_pictures_in_and_pictures_out_give_the_same_as_video(dubbed, sample_video, short_speech, tmp_path):
    import cv2

    (tmp_path / "in").mkdir()
    for number, frame in enumerate(decode(sample_video), start=1):
        cv2.imwrite(str(tmp_path / "in" / f"{number:04d}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    arguments = [
        "dub",
        "--video",
        f"{tmp_path / 'in'}@15",
        "--audio",
        short_speech,
        "--out",
        tmp_path / "out" / "f%04d.png",
        "--quiet",
    ]
    assert main([str(a) for a in arguments]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out"]
    names = sorted(p.name for p in (tmp_path / "out").glob("*.png"))
    assert names == [f"f{n:04d}.png" for n in range(1, 19)]
    pictures = np.stack(
        [cv2.cvtColor(cv2.imread(str(tmp_path / "out" / name)), cv2.COLOR_BGR2RGB) for name in names]
    )
    # decoded by another path than the reader's
    assert np.abs(pictures.astype(int) - decode(dubbed["out"])).mean() < 0.5
    assert (tmp_path / "out" / "sound.wav").is_file()
