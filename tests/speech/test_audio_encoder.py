"""Features are read in the middle of each frame's samples, and pauses do not change them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from personatalk_core.config import SAMPLES_PER_FRAME
from personatalk_core.errors import WeightsError
from personatalk_core.speech.audio_encoder import (
    AudioEncoder,
    AudioEncoderConfig,
    clip_statistics,
    from_moonshine,
)
from personatalk_core.speech.moonshine import MoonshineEncoder, MoonshineSizes


class Clock(torch.nn.Module):
    """A backbone whose features are the sample number they are centred on."""

    centre, hop, width, depth, reach, takes_statistics = 447, 384, 4, 1, 0, False

    def forward(self, samples, statistics=None):
        count = (samples.shape[1] - 895) // 384 + 1
        return [
            (self.centre + self.hop * torch.arange(count, dtype=torch.float32))[None, :, None].expand(
                1, -1, 4
            )
        ]


def test_each_frame_reads_the_middle_of_its_own_samples(networks):
    encoder = networks.audio_encoder
    encoder.backbone = Clock()
    sampled = encoder.at_frames(encoder.backbone(torch.zeros(1, 64_000))[0], 10_000, 20)
    first, second = sampled[0, :, 0], sampled[0, :, 4]
    begin = 10_000 + SAMPLES_PER_FRAME * torch.arange(20)
    assert torch.allclose(first, begin + SAMPLES_PER_FRAME * 0.25, atol=0.1)
    assert torch.allclose(second, begin + SAMPLES_PER_FRAME * 0.75, atol=0.1)


def test_statistics_ignore_pauses(networks):
    speech = torch.randn(48_000)
    padded = torch.cat((speech, torch.zeros(160_000)))
    plain, quiet = (
        clip_statistics(networks.audio_encoder, speech),
        clip_statistics(networks.audio_encoder, padded),
    )
    assert torch.allclose(plain[1], quiet[1], rtol=0.02)


def test_statistics_of_nearly_nothing_are_finite(networks):
    for samples in (torch.zeros(10), torch.randn(1), torch.zeros(40_000)):
        assert all(torch.isfinite(s).all() for s in clip_statistics(networks.audio_encoder, samples))


def test_starts_from_moonshine_weights(tmp_path):
    donor = MoonshineEncoder(MoonshineSizes())
    save_file({k: v.half() for k, v in donor.state_dict().items()}, tmp_path / "moonshine.safetensors")
    encoder = from_moonshine(tmp_path / "moonshine.safetensors", width=16)
    assert torch.allclose(encoder.backbone.conv2.weight, donor.conv2.weight, atol=1e-3)


def test_refuses_other_weights(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="Moonshine"):
        from_moonshine(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="moonshine or hubert"):
        AudioEncoder(AudioEncoderConfig("whisper"))
