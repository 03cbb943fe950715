"""Arrays of pictures and sound to files and back, and a video to numbered pictures, all without loss."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ..errors import MediaError
from ..types import AudioClip, OnProgress, Timeline
from .audio_stream import fit_audio, read_audio
from .audio_writer import LAYOUTS, AudioTrack
from .image_sequence import is_pattern, numbered_name, split_rate
from .timing import rate_times
from .video_reader import VideoReader, probe
from .video_writer import VideoWriter

SOUND = "sound.wav"  # beside numbered pictures


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
            f"{count} frames at {float(rate):g} frames a second came but expected at least one frame and a "
            "positive rate."
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
        AudioTrack(container, clip, "wav", lossless=True).finish()
    return Path(path)


@contextmanager
def written_as_sequence(out: Path, on_progress: OnProgress | None = None) -> Iterator[Path]:
    """Where to write a video, without loss, that is to appear as PNG pictures from number 1, its sound beside
    them.

    Yields: A hidden .mkv beside the folder of the pattern ``out``; when the block ends without an exception
        its frames and sound appear in that folder, all or none.
    Raises:
        MediaError: not a pattern of .png files, or its folder holds files already.
    """
    place, _ = split_rate(Path(out))
    if not is_pattern(place) or place.suffix.lower() != ".png":
        raise MediaError(
            f"Output {out} is not a pattern of pictures; expected one such as "
            f"{place.parent / 'frame_%05d.png'}."
        )
    folder = place.parent
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise MediaError(
            f"The pictures' folder {folder} is not empty; choose one that is empty or does not exist."
        )
    video = folder.parent / f".{folder.name}.pictures.mkv"
    part = folder.parent / f".{folder.name}.{secrets.token_hex(4)}"
    try:
        yield video
        part.mkdir(parents=True)
        _unpack(video, part, place.name, on_progress)
        if folder.is_dir():
            folder.rmdir()
        part.rename(folder)
    except OSError as error:
        raise MediaError(
            f"{folder} cannot be written ({error.strerror}); check its permissions and the free space on "
            "the disk."
        ) from error
    finally:
        video.unlink(missing_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # a folder that this call has made


def _unpack(video: Path, folder: Path, pattern: str, on_progress: OnProgress | None) -> None:
    info = probe(video)
    for number, frame in enumerate(VideoReader(info).frames(), start=1):
        data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1]
        (folder / numbered_name(pattern, number)).write_bytes(data.tobytes())
        if on_progress:
            on_progress(number, info.frame_count)
    if info.has_audio:
        write_sound(folder / SOUND, read_audio(video))


def _as_bytes(frame: np.ndarray) -> np.ndarray:
    return frame if frame.dtype == np.uint8 else np.rint(np.clip(frame, 0, 1) * 255).astype(np.uint8)
