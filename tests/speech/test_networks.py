"""Both files of the speech stage: written, loaded, refused, and what they state about their origin."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, WeightsError
from personatalk_core.speech.networks import (
    BUNDLED_AUDIO_ENCODER,
    MOONSHINE_NOTICE,
    load_speech_networks,
    save_speech_networks,
)
from personatalk_core.weights.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def saved(networks, tmp_path):
    paths = tmp_path / "lip.safetensors", tmp_path / "audio.safetensors"
    save_speech_networks(networks.audio_encoder, networks.lip_sync, *paths)
    return paths


def test_come_back_as_they_were(networks, saved, face_model):
    again = load_speech_networks(*saved, face_model)
    for name, value in networks.lip_sync.state_dict().items():
        assert torch.equal(again.lip_sync.state_dict()[name], value)
    for name, value in networks.audio_encoder.state_dict().items():
        assert torch.allclose(again.audio_encoder.state_dict()[name], value, atol=4e-3), name
    assert not again.lip_sync.training


def test_files_that_do_not_belong_together_are_refused(networks, saved, tmp_path):
    with torch.no_grad():
        networks.audio_encoder.projection.weight += 1
    save_speech_networks(
        networks.audio_encoder, networks.lip_sync, tmp_path / "l2.safetensors", tmp_path / "a2.safetensors"
    )
    with pytest.raises(WeightsError, match="same release"):
        load_speech_networks(saved[0], tmp_path / "a2.safetensors")


def test_other_face_model_is_refused(saved, face_model):
    with pytest.raises(FaceModelMismatchError, match="face model"):
        load_speech_networks(*saved, replace(face_model, sha256="other"))


def test_an_encoder_carries_the_notice_of_what_it_was_made_from(saved):
    notice = MOONSHINE_NOTICE.read_text(encoding="utf-8").rstrip("\n")
    assert "Useful Sensors" in notice and "Permission is hereby granted" in notice
    for path in (saved[1], BUNDLED_AUDIO_ENCODER):
        assert load_checkpoint(path, kind="audio_encoder").licence == notice


def test_the_notice_at_the_root_says_the_same():
    licence = MOONSHINE_NOTICE.read_text(encoding="utf-8").splitlines()[1]
    assert licence in " ".join((ROOT / "NOTICE").read_text(encoding="utf-8").split())


def test_speaking_imports_ten_modules_and_no_hubert():
    code = """
import sys
import personatalk_core.pipeline
from personatalk_core.speech.networks import load_speech_networks
load_speech_networks()
print(*(name for name in sys.modules if name.startswith("personatalk_core.speech")))
"""
    imported = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.split()
    assert "personatalk_core.speech.hubert" not in imported
    assert len(imported) <= 10, imported
