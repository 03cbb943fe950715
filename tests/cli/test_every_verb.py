"""Every verb: its options are read and its function is there; and those run here that no other test runs.

dub, geometry, style, animate, render, reconstruct, doctor and evaluate run in test_dub_commands.py, edit and
export in test_geometry_commands.py, batch in tests/batch, prepare and train in tests/training, user-study and
study in tests/evaluation.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from short_dub import write_clip

from personatalk_core.cli import build_parser, main
from personatalk_core.errors import WeightsError
from personatalk_core.weights import publish

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {  # the least that each verb wants to know, in the order in which --help lists the verbs
    "dub": "--video v.mp4 --audio a.wav --out o.mp4",
    "geometry": "v.mp4 --out g.safetensors",
    "edit": "g.safetensors --out h.safetensors",
    "export": "g.safetensors --glb g.glb",
    "style": "v.mp4 --out s.safetensors",
    "animate": "--geometry g.safetensors --audio a.wav --out h.safetensors",
    "render": "--video v.mp4 --geometry h.safetensors --out o.mp4",
    "reconstruct": "v.mp4 --out o.mp4",
    "evaluate": "--video o.mp4 --reference v.mp4 --audio a.wav",
    "benchmark-quality": "--data clips --out q",
    "user-study": "--systems ours=dubs --out s",
    "doctor": "",
    "batch": "--manifest jobs.jsonl --out o",
    "publish": "--repo someone/weights",
    "prepare": "--data clips --out prepared",
    "train": "speech --data prepared --out t",
    "demo": "",
    "bench": "",
    "study": "geometry-fit clips",
}


def test_the_verbs_are_these():
    helped = [
        line.split()[0] for line in build_parser().format_help().splitlines() if line.startswith("    ")
    ]
    assert [word for word in helped if word in EXAMPLES] == list(EXAMPLES)
    with pytest.raises(SystemExit) as refused:
        main(["sing"])
    assert refused.value.code == 2


@pytest.mark.parametrize("verb", EXAMPLES)
def test_every_verb_reads_its_options_and_has_a_function(verb, capsys):
    args = build_parser().parse_args([verb, *EXAMPLES[verb].split()])
    assert args.verb == verb and args.run.__name__ == verb.replace("-", "_") and args.run.__doc__
    assert args.run.__module__.startswith("personatalk_core.cli.")
    with pytest.raises(SystemExit) as shown:
        main([verb, "--help"])
    assert shown.value.code == 0 and f"personatalk {verb}" in capsys.readouterr().out


def test_help_brings_in_nothing_heavy():
    code = (
        "import sys\nfrom personatalk_core.cli import build_parser\nbuild_parser().format_help()\n"
        "print(sorted({'torch', 'numpy', 'cv2', 'av', 'mediapipe', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("part", "option"),
    [
        ("face-model", "--accelerate"),
        ("face-model", "--encoder moonshine"),
        ("face-model", "--hold-out ann"),
        ("face-model", "--recipe r.json"),
        ("renderer", "--encoder hubert"),
        ("renderer", "--encoder-weights w"),
    ],
)
def test_train_refuses_the_options_of_another_part(part, option, tmp_path, capsys):
    arguments = ["train", part, "--data", str(tmp_path), "--out", str(tmp_path / "t"), *option.split()]
    assert main(arguments) == 2
    name = option.split()[0]
    said = f"personatalk: {name} belongs to 'train speech' but the part is '{part}'; leave it out.\n"
    assert capsys.readouterr().err == said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("part", "trains", "options"),
    [
        ("face-model", "training.face_model.train.train_face_model", {}),
        ("speech", "training.speech.train.train_speech", {"encoder": "hubert", "hold_out": ("ann", "bob")}),
        ("renderer", "training.renderer.train.train_renderer", {"recipe": Path("r.json")}),
    ],
)
def test_train_hands_its_options_to_the_part(part, trains, options, tmp_path, monkeypatch, capsys):
    """The loops themselves run in tests/training."""
    given = {}

    def train(data, out, train_options, on_progress):
        given.update(data=data, out=out, **vars(train_options))
        on_progress(1, 1)
        return "trained"

    monkeypatch.setattr(f"personatalk_core.{trains}", train)
    words = [
        word
        for name, value in options.items()
        for word in [f"--{name.replace('_', '-')}", *(value if isinstance(value, tuple) else [str(value)])]
    ]
    common = ["--data", str(tmp_path), "--out", "t", "--steps", "7", "--seed", "3"]
    assert main(["train", *common, part, *words]) == 0  # the part may come last
    assert capsys.readouterr().out == "trained\n"
    expected = {"data": tmp_path, "out": Path("t"), "steps": 7, "seed": 3, **options}
    assert {name: given[name] for name in expected} == expected


def test_publish_uploads_the_named_folder(tmp_path, monkeypatch, capsys):
    """Uploading itself is tested against a stand-in of the Hub in tests/weights."""

    def publish_weights(repo, *, folder, private, on_progress):
        if not private:
            raise WeightsError("there is no manifest.")
        return f"{repo} from {folder}"

    monkeypatch.setattr(publish, "publish_weights", publish_weights)
    arguments = ["publish", "--repo", "someone/new", "--folder", str(tmp_path)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"published someone/new from {tmp_path}\n"
    assert main([*arguments, "--public"]) == 2
    assert capsys.readouterr().err == "personatalk: there is no manifest.\n"


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> tuple[Path, Path]:
    """A second of the sample and of the demo's line."""
    return write_clip(tmp_path_factory.mktemp("clip"))


def test_demo(clip, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("personatalk_core.samples.demo.DEMO_SPEECH", clip[1])
    assert main(["demo", "--out-dir", str(tmp_path), "--device", "cpu"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"demo.mp4", "demo_source.mp4"}
    assert "17 of 17 frames dubbed; the source is" in capsys.readouterr().out


def test_benchmark_quality_and_user_study(clip, tmp_path, capsys):
    from personatalk_core.media.array_files import read_frames, write_frames
    from personatalk_core.media.audio_stream import read_audio

    video, speech = clip
    (tmp_path / "clips").mkdir()
    pictures = read_frames(video)[0]
    for name in ("ann", "bob"):
        path = tmp_path / "clips" / f"{name}.mp4"
        write_frames(path, iter(pictures), len(pictures), 15, audio=read_audio(speech))
    out = tmp_path / "quality"
    rows = ["--rows", "ground_truth", "--device", "cpu"]
    assert main(["benchmark-quality", "--data", str(tmp_path / "clips"), "--out", str(out), *rows]) == 0
    assert "ground truth" in capsys.readouterr().out
    assert json.loads((out / "quality.json").read_text())
    systems = ["--systems", f"one={tmp_path / 'clips'}", f"two={tmp_path / 'clips'}"]
    assert main(["user-study", *systems, "--out", str(tmp_path / "study")]) == 0
    assert "trials; keep" in capsys.readouterr().out


def test_bench_prints_what_was_measured(monkeypatch, capsys):
    """The measurement is replaced here, as it takes minutes: `make bench` measures for real, and
    tests/evaluation/speed tests its parts."""
    from personatalk_core.evaluation.speed import benchmark

    monkeypatch.setattr(benchmark, "run_benchmark", lambda models, options, progress: {"of": models})
    monkeypatch.setattr(benchmark, "format_benchmark", lambda result: f"on {result['of'].device}")
    assert main(["bench", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "on cpu\n"
