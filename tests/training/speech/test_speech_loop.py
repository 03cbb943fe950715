import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.speech.networks import SpeechNetworks, network_for
from personatalk_core.training.data.hold_out import split_by_speaker
from personatalk_core.training.speech.scores import draw_curves
from personatalk_core.training.speech.task import SpeechTask, SpeechTraining
from personatalk_core.training.trainer import Trainer

OPTIONS = SpeechTraining(
    steps=40,
    batch=3,
    frames=40,
    lr=5e-3,
    encoder_lr=1e-3,
    frozen_steps=5,
    check_every=10,
    ema=0.8,
    half=False,
)


def trainer(talker, face_model, folder, **changes) -> Trainer:
    torch.manual_seed(0)
    tiny = {"width": 24, "inner_width": 24, "layers": 1, "heads": 2, "rotary_share": 0.9, "reach": 5}
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=tiny))
    torch.nn.init.normal_(encoder.backbone.conv1.weight, std=1.0)
    networks = SpeechNetworks(encoder, network_for(face_model, width=32, heads=2, layers=1, reach=4))
    training = [talker(name, seconds=6.0, seed=i) for i, name in enumerate("abcd")]
    options = replace(OPTIONS, **changes)
    task = SpeechTask(networks, face_model, training, [talker("v", seconds=6.0, seed=99)], options)
    return Trainer(task, options.loop, folder)


def test_it_learns_to_follow_unseen_sound(talker, face_model, tmp_path):
    loop = trainer(talker, face_model, tmp_path)
    encoder = loop.task.model.audio_encoder
    frozen = encoder.backbone.conv1.weight.clone()
    tuned = encoder.backbone.layers[0].mlp.fc1.weight.clone()
    result = loop.task.result(loop.run())
    assert loop.history[-1]["opening_r"] > 0.6
    assert loop.history[-1]["vertex"] < loop.history[0]["vertex"]
    assert torch.equal(encoder.backbone.conv1.weight, frozen)
    assert not torch.equal(encoder.backbone.layers[0].mlp.fc1.weight, tuned)
    assert float(result.lip_sync.style.average.abs().sum()) > 0
    draw_curves(loop.history, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_a_killed_run_goes_on_as_if_nothing_had_happened(talker, face_model, tmp_path):
    whole = trainer(talker, face_model, tmp_path / "whole", steps=20)
    whole.run()

    class Killed(Exception):
        pass

    def kill(done, total):
        if done == 15:
            raise Killed

    with pytest.raises(Killed):
        trainer(talker, face_model, tmp_path / "cut", steps=20).run(kill)
    again = trainer(talker, face_model, tmp_path / "cut", steps=20)
    again.run()
    assert [h["step"] for h in again.history] == [10, 20]
    assert again.history[-1]["opening_r"] == pytest.approx(whole.history[-1]["opening_r"], abs=0.1)


RUN = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
import torch
torch.set_num_threads(1)
import test_speech_loop as here
from conftest import make_talker
from personatalk_core.geometry.face_model import load_face_model
face_model = load_face_model()
loop = here.trainer(make_talker(face_model), face_model, Path(sys.argv[1]), steps=20, check_every=5)
loop.run(lambda done, total: print(done, flush=True))
"""


def test_sigkill_loses_nothing_but_the_last_steps(tmp_path):
    here = Path(__file__).resolve().parent
    command = [sys.executable, "-c", RUN, str(tmp_path), str(here.parents[2]), str(here.parent), str(here)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for line in first.stdout:
        if int(line) >= 12:
            first.send_signal(signal.SIGKILL)
            break
    first.wait()
    first.stdout.close()
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    steps = [int(line) for line in again.stdout.split()]
    # from the check at 10 on
    assert first.returncode == -signal.SIGKILL and steps[0] == 11 and steps[-1] == 20
    assert [h["step"] for h in json.loads((tmp_path / "history.json").read_text())] == [5, 10, 15, 20]


def test_stops_when_nothing_improves(talker, face_model, tmp_path):
    loop = trainer(talker, face_model, tmp_path, lr=0.0, encoder_lr=0.0, patience=2, check_every=5)
    loop.run()
    assert loop.step < 40


def test_validation_speakers_are_never_trained_on(talker):
    clips = [talker(name, seed=i, seconds=2.0) for i, name in enumerate("aabbccddee")]
    training, validation = split_by_speaker(clips, share=0.2)
    assert validation and not {c.speaker for c in training} & {c.speaker for c in validation}
    assert len(training) + len(validation) == 10
    assert split_by_speaker(clips[:1], share=0.2) == (clips[:1], [])


def test_speakers_to_hold_out_can_be_named(talker):
    clips = [talker(name, seed=i, seconds=2.0) for i, name in enumerate("aabbc")]
    training, validation = split_by_speaker(clips, ["b", "c"])
    assert {c.speaker for c in training} == {"a"} and {c.speaker for c in validation} == {"b", "c"}
    for wrong in (["x"], ["a", "b", "c"]):
        with pytest.raises(OptionsError, match="hold out"):
            split_by_speaker(clips, wrong)
