import json
from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.speech.networks import load_speech_networks
from personatalk_core.training.data.preparation import PreparedClip
from personatalk_core.training.recipe import TrainOptions
from personatalk_core.training.speech import train as speech
from personatalk_core.training.speech.noise_distillation import DistillationTraining
from personatalk_core.training.speech.task import SpeechTraining
from personatalk_core.types import FaceGeometry


def prepared(clip, face_model, fps: float = 25.0) -> PreparedClip:
    """A clip as it comes from tracking and fitting."""
    frames = clip.frame_count
    expression = torch.zeros(frames, face_model.expression_count)
    expression[:, : face_model.lower_count] = clip.expression
    zeros = torch.zeros(frames, dtype=torch.int64)
    geometry = FaceGeometry(
        identity=clip.identity,
        expression=expression,
        rotation=torch.zeros(frames, 3),
        translation=torch.zeros(frames, 2),
        scale=torch.ones(frames),
        status=zeros.to(torch.uint8),
        shot=zeros,
        source_frame=torch.arange(frames),
        times=torch.arange(frames, dtype=torch.float64) / fps,
        durations=torch.full((frames,), 1 / fps, dtype=torch.float64),
        frame_size=(64, 64),
        face_model=face_model.sha256,
    )
    return PreparedClip(clip.name, clip.name, clip.speaker, geometry, clip.samples, None)


@pytest.fixture
def folder(talker, face_model, monkeypatch):
    """Five made-up talkers in place of a folder of videos."""
    clips = [prepared(talker(name, seconds=3.0, seed=i), face_model) for i, name in enumerate("abcde")]
    monkeypatch.setattr(speech, "prepare_folder", lambda *_: (clips, {"x.mp4": "no face"}))
    monkeypatch.setattr(speech, "estimate_lags", lambda clips, *_: clips)  # slow, and tested by itself
    return clips


def test_one_call_gives_weights_plan_and_curves(folder, face_model, tmp_path):
    second = DistillationTraining(steps=1, batch=1, frames=10, check_every=1)
    recipe = SpeechTraining(
        steps=2,
        batch=1,
        frames=26,
        check_every=1,
        frozen_steps=1,
        noise_distillation=second,
        reference=("a", "b"),
    )
    path = speech.train_speech(tmp_path, tmp_path, TrainOptions(seed=3), recipe=recipe)
    networks = load_speech_networks(path, tmp_path / "audio_encoder.safetensors", face_model)
    assert networks.lip_sync.config.face_model == face_model.sha256
    assert networks.lip_sync.config.reference <= 2 and networks.lip_sync.calibration is not None
    assert [h["step"] for h in json.loads((tmp_path / "hearing" / "history.json").read_text())] == [0, 1]
    assert (tmp_path / "curves.png").is_file()
    assert [h["step"] for h in json.loads((tmp_path / "history.json").read_text())] == [1, 2]
    plan = json.loads((tmp_path / "clips.json").read_text())
    assert len(plan["validation"]) == 1 and len(plan["training"]) == 4
    assert plan["left_out"] == {"x.mp4": "no face"}


def test_without_speech_nothing_is_trained(folder, tmp_path):
    folder[:] = [replace(c, samples=None) for c in folder]
    with pytest.raises(OptionsError, match="has speech on its sound track"):
        speech.train_speech(tmp_path, tmp_path)


def test_hubert_learns_through_the_same_command(folder, face_model, tmp_path):
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    transformers.HubertModel(transformers.HubertConfig(**sizes, **convolutions)).save_pretrained(
        tmp_path / "tiny"
    )
    recipe = SpeechTraining(
        steps=3, batch=2, frames=26, check_every=3, frozen_steps=0, encoder_lr=0.1, half=False, ema=0.0
    )
    path = speech.train_speech(
        tmp_path,
        tmp_path / "out",
        TrainOptions(encoder="hubert", encoder_weights=tmp_path / "tiny"),
        recipe=recipe,
    )
    trained = load_speech_networks(
        path, tmp_path / "out" / "audio_encoder.safetensors", face_model
    ).audio_encoder
    start = speech.start_encoder("hubert", tmp_path / "tiny")
    assert trained.config.kind == "hubert"
    # as files keep them
    pairs = {
        n: (p.half().float(), trained.backbone.get_parameter(n)) for n, p in start.backbone.named_parameters()
    }
    moved = [
        name for name, (before, after) in pairs.items() if float((before - after).detach().abs().max()) > 1e-3
    ]
    assert any("encoder.layers" in name for name in moved)  # fine-tuned,
    assert not any("feature_extractor" in name for name in moved)  # but for the convolutions


def test_an_unknown_encoder_is_refused():
    with pytest.raises(OptionsError, match="expected moonshine or hubert"):
        speech.start_encoder("whisper", None)


def test_accelerate_trains_the_same_with_one_process(folder, face_model, tmp_path):
    pytest.importorskip("accelerate")
    recipe = SpeechTraining(steps=2, batch=1, frames=26, check_every=1, frozen_steps=1, half=False)
    ends = []
    for name, accelerate in (("alone", False), ("launched", True)):
        options = TrainOptions(seed=3, accelerate=accelerate)
        path = speech.train_speech(tmp_path, tmp_path / name, options, recipe=recipe)
        ends.append(
            load_speech_networks(
                path, tmp_path / name / "audio_encoder.safetensors", face_model
            ).lip_sync.vertex_decoder.weight
        )
    assert torch.allclose(*ends, atol=1e-6)


def test_lags_found_once_are_kept(folder, face_model, tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "estimate_lags", lambda clips, *_: [replace(c, lag=1.25) for c in clips])
    recipe = SpeechTraining(steps=1, batch=1, frames=26, check_every=1)
    speech.train_speech(tmp_path, tmp_path, recipe=recipe)
    assert set(speech.planned_lags(tmp_path).values()) == {1.25}
    monkeypatch.setattr(speech, "estimate_lags", lambda *_: pytest.fail("looked for lags again"))
    speech.train_speech(tmp_path, tmp_path, recipe=recipe)
