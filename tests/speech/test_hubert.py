"""HuBERT, the paper's encoder: initialised, trained, saved as ours."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import WeightsError
from personatalk_core.speech.audio_encoder import from_hubert
from personatalk_core.speech.networks import SpeechNetworks, load_speech_networks, save_speech_networks


@pytest.fixture(scope="module")
def hubert_folder(tmp_path_factory):
    """A small checkpoint in the layout of facebook/hubert-base-ls960."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.HubertConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        conv_dim=[16] * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
    )
    folder = tmp_path_factory.mktemp("hubert")
    transformers.HubertModel(config).save_pretrained(folder)
    return folder


def test_initialised_from_a_folder_and_aligned(hubert_folder):
    encoder = from_hubert(hubert_folder, width=16, offline=True).eval()
    assert encoder.backbone.hop == 320 and encoder.backbone.field == 400
    with torch.no_grad():
        features = encoder(torch.randn(1, 48_000) * 0.1, 8000, 50)
    assert features.shape == (1, 50, 16)
    assert torch.isfinite(features).all()


def test_it_learns(hubert_folder):
    encoder = from_hubert(hubert_folder, width=16, offline=True).train()
    encoder(torch.randn(2, 24_000) * 0.1, 4000, 20).square().mean().backward()
    assert float(encoder.backbone.model.encoder.layers[0].attention.k_proj.weight.grad.abs().sum()) > 0


def test_saved_and_loaded_as_ours(hubert_folder, networks, tmp_path):
    encoder = from_hubert(hubert_folder, width=32, offline=True).eval()
    both = SpeechNetworks(encoder, networks.lip_sync)
    save_speech_networks(
        both.audio_encoder, both.lip_sync, tmp_path / "lip.safetensors", tmp_path / "audio.safetensors"
    )
    again = load_speech_networks(tmp_path / "lip.safetensors", tmp_path / "audio.safetensors")
    samples = torch.randn(1, 32_000) * 0.1
    with torch.no_grad():
        assert torch.allclose(encoder(samples, 4000, 30), again.audio_encoder(samples, 4000, 30), atol=2e-2)


def test_missing_weights_are_a_sentence(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(WeightsError, match="HuBERT weights cannot be loaded"):
        from_hubert(tmp_path / "nowhere", offline=True)
