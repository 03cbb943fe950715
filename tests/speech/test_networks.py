from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, WeightsError
from personatalk_core.speech.networks import load_speech_networks, save_speech_networks


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


def test_basis_is_the_face_models(networks, face_model):
    coefficients = torch.randn(3, face_model.lower_count)
    expected = torch.einsum(
        "te,elc->tlc",
        coefficients,
        face_model.expression_basis[: face_model.lower_count, face_model.lower_vertices],
    )
    assert torch.allclose(networks.lip_sync.offsets(coefficients), expected, atol=1e-6)


def test_vertex_encoder_starts_as_the_inverse_of_the_basis(networks, face_model):
    coefficients = torch.randn(5, face_model.lower_count)
    encoded = networks.lip_sync.style.encode_vertices(networks.lip_sync.offsets(coefficients))
    assert torch.allclose(encoded[:, : face_model.lower_count], coefficients, atol=1e-2)
