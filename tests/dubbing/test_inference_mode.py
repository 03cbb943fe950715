"""A host such as ComfyUI loads and runs everything in torch's inference mode."""

from __future__ import annotations

import torch

import personatalk_core as pt
from personatalk_core.media.array_files import write_frames
from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames


def test_models_loaded_in_inference_mode_dub_the_same_bytes(tmp_path):
    video = write_frames(tmp_path / "clip.mp4", sample_frames()[:14], 14, 15)
    options = pt.DubOptions(device="cpu", lip_references=3, face_references=1)
    pt.dub(video, DEMO_SPEECH, tmp_path / "usual.mp4", pt.load_models(options), options)
    with torch.inference_mode():
        pt.dub(video, DEMO_SPEECH, tmp_path / "hosted.mp4", pt.load_models(options), options)
    assert (tmp_path / "hosted.mp4").read_bytes() == (tmp_path / "usual.mp4").read_bytes()
