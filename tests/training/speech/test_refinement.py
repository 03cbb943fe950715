import argparse
import json

import torch

from personatalk_core.dubbing.progress import Progress
from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from personatalk_core.speech.networks import load_speech_networks, network_for, save_speech_networks
from personatalk_core.training.speech import refinement as speech_refinement


def test_networks_of_a_folder_are_refined_into_another(talker, face_model, tmp_path, monkeypatch):
    tiny = {"width": 24, "inner_width": 24, "layers": 1, "heads": 2, "rotary_share": 0.9, "reach": 5}
    torch.manual_seed(0)
    encoder = AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=tiny))
    (tmp_path / "start").mkdir()
    pair = [tmp_path / "start" / name for name in ("lip_sync.safetensors", "audio_encoder.safetensors")]
    save_speech_networks(encoder, network_for(face_model, width=32, heads=2, layers=1, reach=4), *pair)
    clips = [talker(name, seconds=3.0, seed=i) for i, name in enumerate("abcv")]
    monkeypatch.setattr(speech_refinement, "prepare_folder", lambda *_: ([], {}))
    monkeypatch.setattr(speech_refinement, "speech_clips", lambda *_: clips)
    recipe = tmp_path / "recipe.json"
    recipe.write_text(
        json.dumps(
            {
                "noise_distillation": {"steps": 2, "batch": 2, "frames": 26, "check_every": 1},
                "reference": ["a", "b"],
            }
        )
    )
    parser = argparse.ArgumentParser()
    speech_refinement.add_arguments(parser)
    folders = ["--data", str(tmp_path), "--networks", str(tmp_path / "start"), "--out", str(tmp_path / "out")]
    args = parser.parse_args([*folders, "--recipe", str(recipe), "--hold-out", "v"])
    path = tmp_path / "out" / "lip_sync.safetensors"
    assert speech_refinement.run(args, Progress()) == str(path)
    refined = load_speech_networks(path, tmp_path / "out" / "audio_encoder.safetensors", face_model)
    assert refined.lip_sync.config.reference == 2
    assert [h["step"] for h in json.loads((tmp_path / "out" / "hearing" / "history.json").read_text())] == [
        0,
        1,
        2,
    ]
    assert list(json.loads((tmp_path / "out" / "clips.json").read_text())["validation"]) == ["v3"]
