"""A running ComfyUI where COMFYUI_DIR names a checkout; a short clip, so that a whole dub takes seconds."""

import json
import os
import sys
import wave
from fractions import Fraction
from pathlib import Path

import page_driver
import pytest
import workflow_prompt
from comfy_server import ComfyServer

FRAMES, SECONDS = 24, 1.8  # of the clip at 15 frames/s, and of the speech


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """The server, with talking_person.mp4, other_speaker.mp4 and new_speech.wav in its input folder."""
    checkout = os.environ.get("COMFYUI_DIR")
    if not checkout:
        pytest.skip(
            "COMFYUI_DIR is not set; point it to a ComfyUI checkout (and COMFYUI_PYTHON to its Python) "
            "to run the real server"
        )
    base = tmp_path_factory.mktemp("comfyui")
    (base / "input").mkdir()
    write_inputs(base / "input")
    write_speech_weights_where_none_ship(base / "models" / "personatalk")
    server = ComfyServer(Path(checkout), base, os.environ.get("COMFYUI_PYTHON", sys.executable))
    yield server
    server.close()


@pytest.fixture(scope="session")
def driver():
    """tests/support/page_driver.py."""
    return page_driver


@pytest.fixture
def prompt_of():
    """Workflow name to prompt."""
    folder = Path(__file__).resolve().parents[2] / "workflows"

    def read(name: str) -> dict:
        workflow = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        return workflow_prompt.prompt_of(workflow)

    return read


def write_inputs(folder: Path) -> None:
    from personatalk_core.media.array_files import write_frames
    from personatalk_core.media.audio_stream import read_audio
    from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames

    write_frames(folder / "talking_person.mp4", sample_frames("woman")[:FRAMES], FRAMES, Fraction(15))
    write_frames(folder / "other_speaker.mp4", sample_frames("man")[:FRAMES], FRAMES, Fraction(15))
    there_and_back = [*sample_frames("woman"), *sample_frames("woman")[::-1]] * 3
    write_frames(folder / "long_person.mp4", there_and_back, len(there_and_back), Fraction(15))
    with wave.open(str(DEMO_SPEECH)) as line, wave.open(str(folder / "new_speech.wav"), "wb") as excerpt:
        excerpt.setparams(line.getparams())
        excerpt.writeframes(line.readframes(int(SECONDS * line.getframerate())))
    with wave.open(str(DEMO_SPEECH)) as line, wave.open(str(folder / "long_speech.wav"), "wb") as long:
        long.setparams(line.getparams())
        samples = line.readframes(line.getnframes())
        for _ in range(round(60 * line.getframerate() / line.getnframes())):
            long.writeframes(samples)
    speech = read_audio(folder / "new_speech.wav")
    write_frames(
        folder / "person_with_sound.mp4", sample_frames("woman")[:FRAMES], FRAMES, Fraction(15), audio=speech
    )


def write_speech_weights_where_none_ship(folder: Path) -> None:
    """Untrained stand-ins: they move the mouth at random, which is enough to run every graph."""
    import torch

    from personatalk_core.geometry.face_model import load_face_model
    from personatalk_core.speech.audio_encoder import AudioEncoder, AudioEncoderConfig
    from personatalk_core.speech.networks import BUNDLED_LIP_SYNC, network_for, save_speech_networks

    if BUNDLED_LIP_SYNC.is_file():
        return
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    backbone = {"width": 24, "inner_width": 32, "layers": 2, "heads": 2, "rotary_share": 0.9, "reach": 5}
    encoder, network = (
        AudioEncoder(AudioEncoderConfig("moonshine", 32, backbone=backbone)),
        network_for(load_face_model(), width=32, heads=2, layers=1, reach=4),
    )
    for layer in (network.amplitude, network.rest):
        torch.nn.init.normal_(layer.weight, std=0.1)
    save_speech_networks(
        encoder, network, folder / "lip_sync.safetensors", folder / "audio_encoder.safetensors"
    )
