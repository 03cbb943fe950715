"""What the tests of interrupted, concurrent and repeated dubs share: a clip of a second, its sound, and the
command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

FRAMES, SIDE = 16, 224
COMMAND = [
    sys.executable,
    "-m",
    "personatalk_core",
    "dub",
    "--quiet",
    "--device",
    "cpu",
    "--lip-references",
    "3",
    "--face-references",
    "1",
]


def write_clip(folder: Path, frames: int = FRAMES) -> tuple[Path, Path]:
    """The first frames of the sample as a video, and as much speech."""
    from personatalk_core.media.array_files import write_frames, write_sound
    from personatalk_core.media.audio_stream import fit_audio, read_audio
    from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames

    pictures = np.stack(
        [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in sample_frames()[:frames]]
    )
    video = write_frames(folder / "clip.mp4", pictures, frames, 15)
    return video, write_sound(folder / "speech.wav", fit_audio(read_audio(DEMO_SPEECH), frames / 15))


def command(video: Path, audio: Path, out: Path, *more: str) -> list[str]:
    """``personatalk dub`` of the clip."""
    return [*COMMAND, "--video", str(video), "--audio", str(audio), "--out", str(out), *more]


def environment() -> dict[str, str]:
    """One thread a process: tests share the machine."""
    import os

    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run(*arguments: object, cwd: Path, **options: object) -> subprocess.CompletedProcess:
    """Run a command from the checkout and keep what it prints."""
    return subprocess.run(
        [str(a) for a in arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        check=False,
        **options,
    )
