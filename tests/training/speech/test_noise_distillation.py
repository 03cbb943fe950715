from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.speech.networks import SpeechNetworks, network_for
from personatalk_core.training.speech.augmentation import babble, roughen_sound, tones
from personatalk_core.training.speech.noise_distillation import DistillationTask, DistillationTraining
from personatalk_core.training.speech.scores import ClipScore
from personatalk_core.training.trainer import Trainer

OPTIONS = DistillationTraining(steps=8, batch=2, frames=20, lr=1e-2, ema=0.5, check_every=4)


@pytest.fixture
def networks(face_model) -> SpeechNetworks:
    torch.manual_seed(0)
    tiny = {"width": 24, "inner_width": 24, "layers": 1, "heads": 2, "rotary_share": 0.9, "reach": 5}
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=tiny))
    torch.nn.init.normal_(encoder.backbone.conv1.weight, std=1.0)
    return SpeechNetworks(
        encoder.eval(), network_for(face_model, width=32, heads=2, layers=1, reach=4).eval()
    )


def trainer(networks, talker, face_model, folder, **changes) -> Trainer:
    training = [talker(name, seconds=3.0, seed=i) for i, name in enumerate("abc")]
    options = replace(OPTIONS, **changes)
    task = DistillationTask(networks, face_model, training, [talker("v", seconds=3.0, seed=9)], options)
    return Trainer(task, options.loop, folder)


def test_it_comes_nearer_to_what_is_heard_without_noise(networks, talker, face_model, tmp_path):
    before = {k: v.clone() for k, v in networks.audio_encoder.state_dict().items()}
    head = {k: v.clone() for k, v in networks.lip_sync.state_dict().items()}
    stage = trainer(networks, talker, face_model, tmp_path, clean=0.0)
    pair = stage.task.batch(0)
    stage.task.batch = lambda number: pair
    start = float(stage.task.loss(pair)[0].detach())
    result = stage.task.result(stage.run())
    assert float(stage.task.loss(pair)[0].detach()) < 0.9 * start
    assert [h["step"] for h in stage.history] == [0, 4, 8]
    assert {"clean_opening_r", "hiss_opening_r", "babble_width_r", "music_opening_r"} <= set(
        stage.history[-1]
    )
    after = result.audio_encoder.state_dict()
    assert torch.equal(after["backbone.conv1.weight"], before["backbone.conv1.weight"])
    assert all(torch.equal(v, head[k]) for k, v in result.lip_sync.state_dict().items())
    # the teacher's are not touched
    assert all(torch.equal(v, before[k]) for k, v in networks.audio_encoder.state_dict().items())


def test_a_killed_stage_goes_on_where_it_was(networks, talker, face_model, tmp_path):
    def kill(done, total):
        if done == 3:
            raise KeyboardInterrupt

    short = {"steps": 4, "check_every": 2, "batch": 1, "frames": 10}
    with pytest.raises(KeyboardInterrupt):
        trainer(networks, talker, face_model, tmp_path, **short).run(kill)
    steps = []
    again = trainer(networks, talker, face_model, tmp_path, **short)
    again.run(lambda done, total: steps.append(done))
    assert steps == [3, 4]
    assert [h["step"] for h in again.history] == [0, 2, 4]


def test_it_stops_when_nothing_improves(networks, talker, face_model, tmp_path):
    stage = trainer(networks, talker, face_model, tmp_path, check_every=2, patience=2, batch=1)
    stage.task.score = lambda clip, kind, networks: ClipScore("v", "v", 0.5 - stage.step / 100, 0.5, 1.0, 1.0)
    stage.run()
    assert stage.step == 4 and stage.best_state is not None


def test_the_windows_of_a_step_are_always_the_same(networks, talker, face_model, tmp_path):
    task = trainer(networks, talker, face_model, tmp_path).task
    first, again, other = task.batch(3), task.batch(3), task.batch(4)
    assert torch.equal(first.noisy, again.noisy) and torch.equal(first.clean, again.clean)
    assert not torch.equal(first.clean, other.clean)
    assert first.clean.shape == first.noisy.shape


def test_noise_lies_the_stated_decibels_beneath():
    speech = np.sin(np.arange(32_000) / 10) * 0.1
    others = [np.random.default_rng(k).normal(0, 0.2, 9_000) for k in range(3)]
    for seed in range(12):
        rough = roughen_sound(speech, np.random.default_rng(seed), others, 10.0)
        assert rough.shape == speech.shape and rough.dtype == np.float32 and np.isfinite(rough).all()
    plain = [roughen_sound(speech, np.random.default_rng(seed), others, None) for seed in range(12)]
    untouched = sum(np.array_equal(x, speech.astype(np.float32)) for x in plain)
    assert 2 <= untouched <= 10
    assert (
        babble(others, 32_000, np.random.default_rng(0)).shape
        == tones(32_000, np.random.default_rng(0)).shape
        == (32_000,)
    )
