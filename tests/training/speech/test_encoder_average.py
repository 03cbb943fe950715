import argparse

import pytest
import torch

from personatalk_core.dubbing.progress import Progress
from personatalk_core.errors import WeightsError
from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.speech.networks import load_speech_networks, network_for, save_speech_networks
from personatalk_core.training.speech import encoder_average
from personatalk_core.training.speech.encoder_average import average_backbones

TINY = {"width": 24, "inner_width": 24, "layers": 1, "heads": 2, "rotary_share": 0.9, "reach": 5}


def encoder(seed: int, **changes) -> AudioEncoder:
    torch.manual_seed(seed)
    return AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=TINY | changes))


def test_the_backbone_is_the_mean_and_the_rest_the_first_ones():
    a, b = encoder(0), encoder(1)
    mean = average_backbones(a, b, 0.25)
    for own, first, second in zip(
        mean.backbone.parameters(), a.backbone.parameters(), b.backbone.parameters(), strict=True
    ):
        assert torch.allclose(own, 0.75 * first + 0.25 * second, atol=1e-6)
    assert torch.equal(mean.projection.weight, a.projection.weight)
    with pytest.raises(WeightsError, match="differ in kind or size"):
        average_backbones(a, encoder(0, layers=2))


def test_the_command_writes_a_matching_pair(face_model, tmp_path):
    head = network_for(face_model, width=32, heads=2, layers=1, reach=4)
    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / name).mkdir()
        save_speech_networks(
            encoder(seed),
            head,
            tmp_path / name / "lip_sync.safetensors",
            tmp_path / name / "audio_encoder.safetensors",
        )
    parser = argparse.ArgumentParser()
    encoder_average.add_arguments(parser)
    other = str(tmp_path / "b" / "audio_encoder.safetensors")
    args = ["--networks", str(tmp_path / "a"), "--other", other, "--out", str(tmp_path / "c")]
    path = encoder_average.run(parser.parse_args(args), Progress())
    assert path == str(tmp_path / "c" / "lip_sync.safetensors")
    mean = load_speech_networks(
        tmp_path / "c" / "lip_sync.safetensors", tmp_path / "c" / "audio_encoder.safetensors", face_model
    )
    wanted = (encoder(0).backbone.conv1.weight + encoder(1).backbone.conv1.weight) / 2
    assert torch.allclose(mean.audio_encoder.backbone.conv1.weight, wanted, atol=1e-3)
