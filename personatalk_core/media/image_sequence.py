"""Numbered pictures as a video, and a video as numbered pictures.

In: a folder, or a printf pattern such as ``shots/take_%05d.png``; ``@RATE`` behind it states frames a second,
as ``@24`` or ``@30000/1001`` (25 otherwise). Out: the same pattern; PNG pictures from number 1 in a folder of
their own, the sound beside them.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from ..errors import MediaError
from ..types import OnProgress, VideoInfo
from ..weights.checkpoint import sha256_of
from .frame_decoder import first_frame
from .limits import MAX_FRAMES
from .timing import FALLBACK_RATE, rate_times

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
SOUND = "sound.wav"
_NUMBER = re.compile(r"%(0\d{1,2})?d")
_RATE = re.compile(r"(.+)@(\d{1,9})(?:/(\d{1,9}))?", re.DOTALL)


@dataclass(frozen=True)
class ImageSequence:
    """Pictures in the order in which they are shown. rate: frames a second."""

    files: tuple[Path, ...]
    rate: Fraction


def is_sequence(path: Path) -> bool:
    """The path is a folder or a pattern, with or without a rate behind it."""
    try:
        place, _ = _split(Path(path))
        return place.is_dir() or _is_pattern(place)
    except OSError:  # a name longer than the file system has
        return False


def is_picture_output(out: Path) -> bool:
    """An output that is to become pictures rather than a video file."""
    return Path(out).suffix.lower() in PICTURES


def find_sequence(path: Path) -> ImageSequence:
    """The pictures of a folder or a pattern.

    Raises:
        MediaError: none, kinds of picture mixed in a folder, a number missing in a pattern, too many, or a
            rate of 0.
    """
    place, rate = _split(Path(path))
    if rate is not None and rate <= 0:
        raise MediaError(f"{path} states {rate} frames a second but expected more than 0.")
    try:
        files = _of_folder(place) if place.is_dir() else _of_pattern(place)
    except OSError as error:
        raise MediaError(
            f"{place} cannot be opened ({error.strerror}); check the permissions of the folder."
        ) from error
    if not files:
        kind = "is a folder without" if place.is_dir() else "matches no"
        raise MediaError(
            f"{place} {kind} pictures; expected numbered files that end in {', '.join(PICTURES)}."
        )
    if len(files) > MAX_FRAMES:
        raise MediaError(f"{place} has {len(files)} pictures but at most {MAX_FRAMES} are read; split it.")
    return ImageSequence(tuple(files), rate or FALLBACK_RATE)


def sequence_hash(sequence: ImageSequence) -> str:
    """What sha256 is to a file: over the names and contents of all pictures."""
    digest = hashlib.sha256(str(sequence.rate).encode())
    for file in sequence.files:
        digest.update(f"{file.name}\0{sha256_of(file)}\n".encode())
    return digest.hexdigest()


def sequence_times(sequence: ImageSequence) -> tuple[np.ndarray, np.ndarray]:
    """times (T,) and durations (T,) in seconds."""
    count = len(sequence.files)
    return rate_times(sequence.rate, count), np.full(count, float(1 / sequence.rate))


class SequenceDecoder:
    """Pictures by number; the counterpart of FrameDecoder, holding one. A broken picture repeats the last
    one."""

    def __init__(self, info: VideoInfo) -> None:
        self.info, self.damaged = info, set()
        self._files = find_sequence(info.path).files
        self._last: av.VideoFrame | None = None

    def __enter__(self) -> "SequenceDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._last = None

    def get(self, number: int) -> av.VideoFrame:
        """Picture ``number`` from 0. Raises MediaError: pictures have gone, or the first one wanted cannot be
        decoded."""
        if number >= len(self._files):
            raise MediaError(
                f"{self.info.path} has {len(self._files)} pictures now but had {self.info.frame_count}; "
                "put them back."
            )
        try:
            self._last, _ = first_frame(self._files[number])
        except MediaError:
            if self._last is None:
                raise
            self.damaged.add(number)
        return self._last


@contextmanager
def written_as_sequence(out: Path, on_progress: OnProgress | None = None) -> Iterator[Path]:
    """Where to write a video, without loss, that is to appear as pictures.

    Yields: A hidden .mkv beside the folder of the pattern ``out``; when the block ends without an exception
        its frames and sound appear in that folder, all or none.
    Raises:
        MediaError: not a pattern of .png files, or its folder holds files already.
    """
    place, _ = _split(Path(out))
    if not _is_pattern(place) or place.suffix.lower() != ".png":
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
            f"{folder} cannot be written ({error.strerror}); check its permissions and the free space "
            "on the disk."
        ) from error
    finally:
        video.unlink(missing_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # a folder that this call has made


def _unpack(video: Path, folder: Path, pattern: str, on_progress: OnProgress | None) -> None:
    from .array_files import write_sound
    from .audio_stream import read_audio
    from .video_reader import VideoReader, probe

    info = probe(video)
    for number, frame in enumerate(VideoReader(info).frames(), start=1):
        data = cv2.imencode(".png", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))[1]
        (folder / _named(pattern, number)).write_bytes(data.tobytes())
        if on_progress:
            on_progress(number, info.frame_count)
    if info.has_audio:
        write_sound(folder / SOUND, read_audio(video))


def _split(path: Path) -> tuple[Path, Fraction | None]:
    """The folder or pattern, and the rate that was stated behind it."""
    if path.exists():
        return path, None
    match = _RATE.fullmatch(str(path))
    if match is None:
        return path, None
    place = Path(match[1])
    if not (place.is_dir() or _is_pattern(place)):
        return path, None
    return place, Fraction(int(match[2]), int(match[3] or 1)) if int(match[3] or 1) else Fraction(0)


def _is_pattern(path: Path) -> bool:
    return path.suffix.lower() in PICTURES and len(_NUMBER.findall(path.name)) == 1 and not path.is_file()


def _named(pattern: str, number: int) -> str:
    width = int(_NUMBER.search(pattern)[1] or 0)
    return _NUMBER.sub(str(number).zfill(width), pattern)


def _of_folder(folder: Path) -> list[Path]:
    files = [
        file for file in folder.iterdir() if file.suffix.lower() in PICTURES and not file.name.startswith(".")
    ]
    kinds = {file.suffix.lower() for file in files}
    if len(kinds) > 1:
        raise MediaError(
            f"{folder} mixes {' and '.join(sorted(kinds))} pictures; pass a pattern such as "
            f"{folder / '%05d.png'}."
        )
    return sorted(files, key=lambda file: _natural(file.name))


def _of_pattern(pattern: Path) -> list[Path]:
    before, after = _NUMBER.split(pattern.name)[0], _NUMBER.split(pattern.name)[-1]
    shape = re.compile(re.escape(before) + r"(\d{1,12})" + re.escape(after))
    found = {}
    if not pattern.parent.is_dir():
        return []
    for file in pattern.parent.iterdir():
        match = shape.fullmatch(file.name)
        if match and _named(pattern.name, int(match[1])) == file.name:
            found[int(match[1])] = file
    numbers = sorted(found)
    gap = next((a + 1 for a, b in itertools.pairwise(numbers) if b != a + 1), None)
    if gap is not None:
        name = pattern.parent / _named(pattern.name, gap)
        raise MediaError(
            f"{name} is missing; the pictures must go from {numbers[0]} to {numbers[-1]} without a gap."
        )
    return [found[number] for number in numbers]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sorts 2 before 10."""
    pieces = re.split(r"([0-9]{1,12})", name)
    return [
        (1, int(piece), "") if piece.isascii() and piece.isdigit() else (0, 0, piece)
        for piece in pieces
        if piece
    ]
