from dataclasses import replace

import pytest
import torch

from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.speech.lip_sync import predict_expression, template_offsets
from personatalk_core.speech.networks import (
    SpeechNetworks,
    load_speech_networks,
    network_for,
    save_speech_networks,
)
from personatalk_core.training.speech.calibration import calibrate, lip_free, opening_slope, opening_way
from personatalk_core.training.speech.losses import MouthMeasure
from personatalk_core.training.speech.scores import clip_style


@pytest.fixture(scope="module")
def networks(face_model) -> SpeechNetworks:
    torch.manual_seed(0)
    tiny = {"width": 24, "inner_width": 24, "layers": 1, "heads": 2, "rotary_share": 0.9, "reach": 5}
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=tiny)).eval()
    torch.nn.init.normal_(encoder.backbone.conv1.weight, std=1.0)
    return SpeechNetworks(encoder, network_for(face_model, width=32, heads=2, layers=1, reach=4).eval())


@pytest.fixture(scope="module")
def clips(talker, face_model):
    """Talkers who differ in a coefficient that has nothing to do with the lips."""
    made = []
    for k, name in enumerate("abcdef"):
        clip = talker(name, seconds=4.0, seed=k, gain=0.5 + 0.2 * k)
        expression = clip.expression.clone()
        expression[:, 3] += 0.4 * (k - 2.5)
        made.append(replace(clip, expression=expression))
    return made


def test_generated_motion_differs_as_the_styles_do(networks, clips, face_model):
    free = lip_free(face_model)
    first, last = clips[0], clips[-1]
    wanted = free @ (last.expression.mean(0) - first.expression.mean(0))
    face, sound = template_offsets(first.identity, face_model), torch.from_numpy(first.samples)
    errors = []
    for made in (networks, calibrate(networks, clips, face_model)):
        means = [
            predict_expression(sound, first.frame_count, clip_style(c, made), face, made).mean(0)
            for c in (first, last)
        ]
        errors.append(float((free @ (means[1] - means[0]) - wanted).norm()))
    assert errors[1] < 0.5 * errors[0]


def test_only_named_speakers_are_kept_as_speech(networks, clips, face_model):
    assert len(calibrate(networks, clips, face_model).lip_sync.calibration.speech) == 6
    assert len(calibrate(networks, clips, face_model, ["a", "c", "nobody"]).lip_sync.calibration.speech) == 2
    assert len(calibrate(networks, clips, face_model, ["nobody"]).lip_sync.calibration.speech) == 6
    assert networks.lip_sync.calibration is None


def test_calibrating_again_starts_anew(networks, clips, face_model):
    once = calibrate(networks, clips, face_model, ["a", "c"])
    again = calibrate(calibrate(networks, clips, face_model), clips, face_model, ["a", "c"])
    for name, value in once.lip_sync.state_dict().items():
        assert torch.allclose(value, again.lip_sync.state_dict()[name], atol=1e-6)


def test_it_travels_in_the_weights_file(networks, clips, face_model, tmp_path):
    made = calibrate(networks, clips, face_model)
    paths = tmp_path / "lip_sync.safetensors", tmp_path / "audio_encoder.safetensors"
    save_speech_networks(made.audio_encoder, made.lip_sync, *paths)
    read = load_speech_networks(*paths, face_model)
    for name, value in made.lip_sync.calibration.state_dict().items():
        assert torch.equal(read.lip_sync.calibration.state_dict()[name], value)


def test_a_shift_leaves_the_lips_as_far_apart_as_they_are(face_model):
    measure, free = MouthMeasure(face_model), lip_free(face_model)
    identity = torch.zeros(1, face_model.identity_count)
    motion = torch.randn(1, 20, face_model.lower_count, generator=torch.Generator().manual_seed(0)) * 0.5
    shift = free @ torch.randn(face_model.lower_count, generator=torch.Generator().manual_seed(1))
    assert float(shift.norm()) > 0.5
    assert torch.allclose(measure(motion + shift, identity)[0], measure(motion, identity)[0], atol=1e-4)


def test_the_way_opens_the_mouth_by_what_it_says(face_model):
    measure, slope = MouthMeasure(face_model), opening_slope(face_model)
    identity = torch.zeros(1, face_model.identity_count)
    wide = 0.1 * opening_way(slope, face_model)
    openings = [float(measure((k * wide)[None, None], identity)[0]) for k in (0.0, 1.0)]
    assert openings[1] - openings[0] == pytest.approx(0.1, abs=0.02)
