import json
from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.speech.networks import load_speech_networks
from personatalk_core.training import speech
from personatalk_core.training.preparation import PreparedClip
from personatalk_core.training.speech_loop import SpeechTraining
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
    options = SpeechTraining(steps=2, batch=1, frames=26, check_every=1, frozen_steps=1)
    path = speech.train_speech(tmp_path, tmp_path, options=options, seed=3)
    networks = load_speech_networks(path, tmp_path / "audio_encoder.safetensors", face_model)
    assert networks.lip_sync.config.face_model == face_model.sha256
    assert (tmp_path / "curves.png").is_file()
    assert [h["step"] for h in json.loads((tmp_path / "history.json").read_text())] == [1, 2]
    plan = json.loads((tmp_path / "clips.json").read_text())
    assert len(plan["validation"]) == 1 and len(plan["training"]) == 4
    assert plan["left_out"] == {"x.mp4": "no face"}


def test_without_speech_nothing_is_trained(folder, tmp_path):
    folder[:] = [replace(c, samples=None) for c in folder]
    with pytest.raises(OptionsError, match="has speech on its sound track"):
        speech.train_speech(tmp_path, tmp_path)
