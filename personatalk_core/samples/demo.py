"""The demo's input: a talking face that installs with a package, and a spoken line that ships with this one.

The face is an AI-made talking woman from ComfyUI's own template media (the MIT-licensed package
``comfyui-workflow-templates-media-video``, an extra of this project); the line was synthesised with
Flite for this project. Neither needs a download of its own.
"""

from __future__ import annotations

import shutil
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import av
import numpy as np

from ..errors import DependencyError

DEMO_SPEECH = Path(__file__).with_name("demo_speech.wav")
SAMPLE_PACKAGE = "comfyui-workflow-templates-media-video"
SAMPLES = {"woman": "api_kling_avatar2-1.webp", "man": "video_ltx2_3_id_lora-1.webp"}
SAMPLE_RATE = Fraction(15)  # the clips' own frames a second


def sample_frames(name: str = "woman") -> np.ndarray:
    """Frames of a sample clip, (T, H, W, 3) uint8 RGB: 56 of 350x350 for ``woman``, 45 for ``man`` (whose
    camera moves in).

    Raises:
        DependencyError: the package that carries the clips is not installed.
    """
    try:
        files = distribution(SAMPLE_PACKAGE).files or []
    except PackageNotFoundError as error:
        raise DependencyError(
            f"The sample clip comes with the package {SAMPLE_PACKAGE}, which is not installed; run: pip "
            "install -e '.[dev]'."
        ) from error
    path = next(Path(str(file.locate())) for file in files if file.name == SAMPLES[name])
    from PIL import Image, ImageSequence  # PyAV's webp demuxer does not read animations

    with Image.open(path) as image:
        return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])


def write_sample_video(target: Path, name: str = "woman") -> Path:
    """Write a sample clip without sound as a near-lossless H.264 file at 15 frames/s; returns the path."""
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(target), "w") as container:
        stream = container.add_stream("libx264", rate=SAMPLE_RATE)
        frames = sample_frames(name)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.options = "yuv444p", {"crf": "6", "preset": "veryfast"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return target


def write_workflow_inputs(folder: Path) -> list[Path]:
    """The files that the example workflows name: talking_person.mp4, other_speaker.mp4 and new_speech.wav;
    returns their paths."""
    folder = Path(folder)
    videos = [
        write_sample_video(folder / "talking_person.mp4"),
        write_sample_video(folder / "other_speaker.mp4", "man"),
    ]
    speech = folder / "new_speech.wav"
    shutil.copyfile(DEMO_SPEECH, speech)
    return [*videos, speech]
