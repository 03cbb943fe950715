"""Pictures and sound that come as arrays, written without loss to files that the pipeline can stream."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..errors import MediaError
from ..types import AudioClip, OnProgress, Timeline
from .audio_stream import fit_audio
from .audio_writer import LAYOUTS, AudioTrack
from .timing import rate_times
from .video_reader import VideoReader, probe
from .video_writer import VideoWriter


def write_frames(
    path: Path,
    frames: Iterable[np.ndarray],
    count: int,
    rate: Fraction,
    *,
    audio: AudioClip | None = None,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write frames at a constant rate, losslessly.

    Args:
        path:   .mp4, .mov or .mkv; appears when it is complete.
        frames: ``count`` frames (H, W, 3), uint8 RGB or float in [0, 1].
        rate:   frames a second, above 0.
        audio:  sound to go with them, cut or padded to their length.
    Raises:
        MediaError: no frames, or a rate that is not positive. ShapeError: frames of different sizes.
    """
    if count < 1 or rate <= 0:
        raise MediaError(
            f"{count} frames at {float(rate):g} frames a second came but expected at least one frame "
            "and a positive rate."
        )
    timeline = Timeline(
        np.zeros(count, np.int64), rate_times(Fraction(rate), count), np.full(count, float(1 / rate))
    )
    sound = fit_audio(audio, timeline.duration) if audio is not None else None
    stream = iter(frames)
    first = _as_bytes(next(stream))
    with VideoWriter(
        Path(path), first.shape[1], first.shape[0], timeline, audio=sound, lossless=True
    ) as writer:
        writer.write(first)
        for done, frame in enumerate(stream, start=1):
            if on_progress:
                on_progress(done, count)
            writer.write(_as_bytes(frame))
    return Path(path)


def read_frames(path: Path, *, on_progress: OnProgress | None = None) -> tuple[np.ndarray, Fraction]:
    """All frames of a short video at once: (T, H, W, 3) float32 in [0, 1], and its rate. Raises
    MediaError."""
    info = probe(path)
    frames = np.empty((info.frame_count, info.height, info.width, 3), np.float32)
    for index, frame in enumerate(VideoReader(info).frames()):
        frames[index] = frame
        if on_progress is not None:
            on_progress(index + 1, info.frame_count)
    frames /= 255.0
    return frames, info.rate


def write_sound(path: Path, clip: AudioClip) -> Path:
    """Write a clip as a .wav of 32-bit floats. Raises MediaError when there are more channels than a layout
    is known for."""
    if clip.samples.shape[0] not in LAYOUTS or clip.samples.shape[1] == 0:
        raise MediaError(
            f"The sound has shape {clip.samples.shape} but expected 1 to {max(LAYOUTS)} channels and at "
            "least one sample."
        )
    with av.open(str(path), "w", format="wav") as container:
        AudioTrack(container, clip, "wav", lossless=True).finish(container)
    return Path(path)


def _as_bytes(frame: np.ndarray) -> np.ndarray:
    return frame if frame.dtype == np.uint8 else np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8)
