"""Inputs made of single pictures, read as a video: numbered pictures, and animated WebP.

Numbered pictures are a folder, or a printf pattern such as ``shots/take_%05d.png``; ``@RATE`` behind it
states frames a second, as ``@24`` or ``@30000/1001`` (25 otherwise). Animated WebP, which FFmpeg does not
decode, is read by Pillow, a few frames at a time.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL.WebPImagePlugin import WebPImageFile

from ..checks import MAX_FRAMES, check_frame_size, check_length
from ..errors import MediaError
from ..types import VideoInfo
from ..weights.checkpoint import sha256_of
from .colour import Orientation, remarks_on, to_rgb
from .frame_decoder import first_frame
from .provenance import read_marks
from .timing import FALLBACK_RATE, exact_rate, rate_times

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp")
SHORTEST_WEBP = 0.011  # seconds: browsers show frames that state less for a tenth of a second
STANDARD_WEBP = 0.1
WEBP_BATCH = 32  # frames decoded at once, fewer where they are large
WEBP_BUDGET = 256 << 20  # bytes of them
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
        place, _ = split_rate(Path(path))
        return place.is_dir() or is_pattern(place)
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
    place, rate = split_rate(Path(path))
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


def probe_sequence(path: Path) -> VideoInfo:
    """What numbered pictures hold, as :func:`video_reader.probe` says it of a file. Raises MediaError."""
    sequence = find_sequence(path)
    first, tags = first_frame(sequence.files[0])
    picture = Orientation.of_frame(first).apply(to_rgb(first))
    count = len(sequence.files)
    times, durations = rate_times(sequence.rate, count), np.full(count, float(1 / sequence.rate))
    check_length(path, float(times[-1] + durations[-1]))
    return VideoInfo(
        path=path,
        width=picture.shape[1],
        height=picture.shape[0],
        times=times,
        durations=durations,
        rate=sequence.rate,
        constant_rate=True,
        has_audio=False,
        sha256=sequence_hash(sequence),
        remarks=(*remarks_on(first, tags[1]), *read_marks(sequence.files[0]).remarks()),
    )


class SequenceDecoder:
    """Pictures by number; the counterpart of FrameDecoder, holding one. A broken picture repeats the last
    one."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.damaged: set[int] = set()
        self._files = find_sequence(info.path).files
        self._last: av.VideoFrame | None = None

    def __enter__(self) -> SequenceDecoder:
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


def probe_webp(path: Path) -> VideoInfo:
    """What an animated WebP holds, as :func:`video_reader.probe` says it of other files. Every frame is
    decoded once for its duration. Raises MediaError: too large, or it does not decode."""
    with path.open("rb") as stream:
        canvas = stream.read(30)[24:30]
    width, height = (int.from_bytes(size, "little") + 1 for size in (canvas[:3], canvas[3:]))
    check_frame_size(path, width, height)
    with _open_webp(path) as animation:
        count = animation.n_frames
        check_length(path, 0.0, count)
        milliseconds = [_webp_frame(animation, number, path).info["duration"] for number in range(count)]
    seconds = np.array(milliseconds) / 1000
    durations = np.where(seconds < SHORTEST_WEBP, STANDARD_WEBP, seconds)
    times = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    check_length(path, float(durations.sum()))
    rate = exact_rate(times, 0.001)
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        times=times if rate is None else rate_times(rate, count),
        durations=durations if rate is None else np.full(count, float(1 / rate)),
        rate=rate or Fraction(count / float(durations.sum())).limit_denominator(100_000),
        constant_rate=rate is not None,
        has_audio=False,
        sha256=sha256_of(path),
        remarks=read_marks(path).remarks(),
    )


class WebpDecoder:
    """Frames of an animated WebP by number; the counterpart of FrameDecoder, holding one batch."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.damaged: set[int] = set()
        self._batch = max(1, min(WEBP_BATCH, WEBP_BUDGET // (3 * info.width * info.height)))
        self._start = 0
        self._frames: list[np.ndarray] = []
        self._animation = _open_webp(info.path)

    def __enter__(self) -> WebpDecoder:
        return self

    def __exit__(self, *_: object) -> None:
        self._frames = []
        self._animation.close()

    def get(self, number: int) -> av.VideoFrame:
        """Frame ``number``; transparency is dropped. Raises MediaError: it does not decode."""
        if not self._start <= number < self._start + len(self._frames):
            self._start = number // self._batch * self._batch
            end = min(self._start + self._batch, self.info.frame_count)
            self._frames = [
                np.asarray(_webp_frame(self._animation, k, self.info.path).convert("RGB"))
                for k in range(self._start, end)
            ]
        return av.VideoFrame.from_ndarray(self._frames[number - self._start], format="rgb24")


def _open_webp(path: Path) -> WebPImageFile:
    try:
        return WebPImageFile(path)
    except (OSError, ValueError, SyntaxError) as error:
        raise MediaError(
            f"{path} cannot be decoded as an animated WebP; save the animation again."
        ) from error


def _webp_frame(animation: WebPImageFile, number: int, path: Path) -> WebPImageFile:
    """Frame ``number``, decoded; Pillow decodes all before it where it went back."""
    try:
        animation.seek(number)
        animation.load()
    except (EOFError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} cannot be decoded from frame {number} on; save the animation again."
        ) from error
    return animation


def split_rate(path: Path) -> tuple[Path, Fraction | None]:
    """The folder or pattern, and the rate that was stated behind it."""
    if path.exists():
        return path, None
    match = _RATE.fullmatch(str(path))
    if match is None:
        return path, None
    place = Path(match[1])
    if not (place.is_dir() or is_pattern(place)):
        return path, None
    return place, Fraction(int(match[2]), int(match[3] or 1)) if int(match[3] or 1) else Fraction(0)


def is_pattern(path: Path) -> bool:
    """The name has one number in printf's form, as ``take_%05d.png``, and is no file."""
    return path.suffix.lower() in PICTURES and len(_NUMBER.findall(path.name)) == 1 and not path.is_file()


def numbered_name(pattern: str, number: int) -> str:
    """The file name of a picture of a pattern."""
    width = int(_NUMBER.findall(pattern)[0] or 0)
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
        if match and numbered_name(pattern.name, int(match[1])) == file.name:
            found[int(match[1])] = file
    numbers = sorted(found)
    gap = next((a + 1 for a, b in itertools.pairwise(numbers) if b != a + 1), None)
    if gap is not None:
        name = pattern.parent / numbered_name(pattern.name, gap)
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
