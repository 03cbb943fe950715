"""ComfyUI's VIDEO, AUDIO and IMAGE on one side, files on the other: the core streams from file to file.

Temporary files are named by their content, so that the same input always is the same file; ComfyUI empties
the folder.
"""

from __future__ import annotations

import hashlib
import io as bytes_io
import shutil
import uuid
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import folder_paths
from comfy_api.latest import InputImpl

from ..personatalk_core.errors import MediaError

if TYPE_CHECKING:
    import torch

    from ..personatalk_core.dubbing.progress import Progress
    from ..personatalk_core.types import AudioClip


def temporary(suffix: str, name: str = "") -> Path:
    """A path in ComfyUI's temporary folder."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"personatalk_{name or uuid.uuid4().hex}{suffix}"


def video_path(video) -> Path:
    """The file behind a VIDEO; one is written where there is none (a buffer, a trimmed video, pictures in
    memory)."""
    if isinstance(video, InputImpl.VideoFromComponents):
        components = video.get_components()
        return images_path(components.images, Fraction(components.frame_rate), sound=components.audio)
    if any(getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()):
        buffer = bytes_io.BytesIO()
        video.save_to(buffer, format="mp4")
        return _buffer_path(buffer)
    source = video.get_stream_source()
    return Path(source) if isinstance(source, str) else _buffer_path(source)


def images_path(
    images, fps: Fraction | float, progress: Progress | None = None, *, sound: dict | None = None
) -> Path:
    """A lossless video of an IMAGE batch [B, H, W, C] in 0..1, with an AUDIO where it has one."""
    from ..personatalk_core.media.array_files import write_frames

    rate = Fraction(fps).limit_denominator(100_000)
    digest = hashlib.sha256(f"{tuple(images.shape)} {rate}".encode())
    for image in images:
        digest.update(image.cpu().contiguous().numpy())
    clip = _clip(sound) if sound else None
    digest.update(_digest(clip).encode() if clip else b"")
    path = temporary(".mp4", digest.hexdigest())
    if path.exists():
        return path
    pictures = (image[..., :3].cpu().numpy() for image in images)
    return write_frames(
        path,
        pictures,
        len(images),
        rate,
        audio=clip,
        on_progress=progress.stage("reading") if progress else None,
    )


def video_images(path: Path, progress: Progress) -> torch.Tensor:
    """A short video as an IMAGE."""
    import torch

    from ..personatalk_core.media.array_files import read_frames

    return torch.from_numpy(read_frames(path, on_progress=progress.stage("reading"))[0])


def video_mask(path: Path, progress: Progress) -> torch.Tensor:
    """A grey video as a MASK [B, H, W]."""
    return video_images(path, progress)[..., 0].contiguous()


def audio_path(audio: dict) -> Path:
    """A .wav of an AUDIO, which is {"waveform": [B, C, S], "sample_rate": Hz}. Raises MediaError for a
    batch."""
    from ..personatalk_core.media.array_files import write_sound

    clip = _clip(audio)
    path = temporary(".wav", _digest(clip))
    return path if path.exists() else write_sound(path, clip)


def _clip(audio: dict) -> AudioClip:
    from ..personatalk_core.types import AudioClip

    waveform = audio["waveform"]
    if waveform.shape[0] != 1:
        raise MediaError(
            f"The AUDIO is a batch of {waveform.shape[0]} but expected one sound; pick one of the batch."
        )
    return AudioClip(waveform[0].cpu().float().contiguous().numpy(), int(audio["sample_rate"]))


def _digest(clip: AudioClip) -> str:
    return hashlib.sha256(clip.samples.tobytes() + str(clip.sample_rate).encode()).hexdigest()


def view_of(path: Path) -> dict | None:
    """How the page asks the server for a file: filename, subfolder and type; None outside ComfyUI's
    folders."""
    folders = {
        "temp": folder_paths.get_temp_directory(),
        "input": folder_paths.get_input_directory(),
        "output": folder_paths.get_output_directory(),
    }
    for kind, folder in folders.items():
        folder = Path(folder).resolve()
        if path.resolve().is_relative_to(folder):
            inside = path.resolve().relative_to(folder)
            return {
                "filename": inside.name,
                "subfolder": inside.parent.as_posix().removeprefix("."),
                "type": kind,
            }
    return None


def _buffer_path(buffer) -> Path:
    buffer.seek(0)
    digest = (
        hashlib.file_digest(buffer, "sha256")
        if hasattr(hashlib, "file_digest")
        else hashlib.sha256(buffer.read())
    )
    path = temporary(".mp4", digest.hexdigest())
    if not path.exists():
        buffer.seek(0)
        partial = path.with_suffix(".part")
        try:
            with partial.open("wb") as target:
                shutil.copyfileobj(buffer, target)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return path
