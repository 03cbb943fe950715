"""One video file coming into being: container, coded pictures, sound in step with them, tags. Whole or not at
all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError

from ..checks import check_shape
from ..errors import MediaError
from ..types import AudioClip, Timeline, VideoInfo
from .audio_stream import AudioStream
from .audio_writer import AudioTrack
from .frame_index import exact_time_base
from .mp4_boxes import set_clean_aperture
from .picture_coding import PictureCoding, format_of, picture_coding
from .provenance import XMP_KEY, write_xmp

# ticks a second of the edit lists; the default of 1000 cuts sound short by up to half a millisecond
MOVIE_TIMESCALE = 90_000


class OutputFile:
    """A container that is written under another name and renamed when it is complete.

    Args:
        path:     .mp4, .m4v, .mov or .mkv; an existing file is replaced at the end.
        coding:   of the pictures; ``stream`` is their stream.
        sound:    cut or padded to the pictures; None writes none.
        metadata: tags; the value of ``xmp`` is stored as the XMP packet (.mp4, .mov).
        part:     the name it is written under; None takes a hidden one beside ``path``.
    """

    def __init__(
        self,
        path: Path,
        coding: PictureCoding,
        sound: AudioClip | AudioStream | None = None,
        metadata: dict[str, str] | None = None,
        part: Path | None = None,
    ) -> None:
        self.path, self.coding = Path(path), coding
        self._format = format_of(self.path)
        self._metadata = dict(metadata or {})
        self._xmp = self._metadata.pop(XMP_KEY, "")
        self._sound = sound
        self._container: OutputContainer | None = None
        self._track: AudioTrack | None = None
        self._part = part or self.path.with_name(
            f".{self.path.stem}.{secrets.token_hex(4)}{self.path.suffix}"
        )

    def open(self) -> None:
        """Make the file and its streams; nothing is written before the first packet."""
        self._part.parent.mkdir(parents=True, exist_ok=True)
        mp4 = self._format in ("mp4", "mov")
        # without bitexact Matroska gives every file a random identity
        options = (
            {"movflags": "+faststart", "movie_timescale": str(MOVIE_TIMESCALE)}
            if mp4
            else {"fflags": "+bitexact"}
        )
        with self._part.open("wb"):
            pass  # refuses a closed folder before any work
        container = self._container = av.open(str(self._part), "w", format=self._format, options=options)
        container.metadata.update(self._metadata)
        self.stream = self.coding.add_stream(container)
        if self._sound is not None:
            duration = float(self.coding.pts[-1] * self.coding.time_base)
            self._track = AudioTrack(
                container, self._sound, self._format, lossless=self.coding.lossless, duration=duration
            )

    def mux(self, packet: av.Packet) -> None:
        """Write a coded picture, which is shown as long as the timeline says."""
        ticks = self.coding.duration_at(self.coding.start_of(packet))
        packet.duration = round(ticks * self.coding.time_base / exact_time_base(packet))
        self._opened().mux(packet)

    def write_sound_until(self, pts: int) -> None:
        """Write what is heard before a time in ticks of the pictures."""
        if self._track is not None:
            self._track.write_until(Fraction(int(pts)) * self.coding.time_base)

    def finish(self) -> None:
        """Close the file and give it its name."""
        if self._track is not None:
            self._track.finish()
            self._track = None
        self._opened().close()
        self._container = None
        if any(self.coding.pad):
            set_clean_aperture(self._part, self.coding.width, self.coding.height)
        if self._xmp and self._format in ("mp4", "mov"):
            write_xmp(self._part, self._xmp)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _rename(self._part, self.path)

    def _opened(self) -> OutputContainer:
        if self._container is None:
            raise MediaError(f"{self.path} is not open; call open() before writing to it.")
        return self._container

    def discard(self) -> None:
        """Close and remove what is not finished; nothing after :meth:`finish`."""
        container, self._container, self._track = self._container, None, None
        try:
            if container is not None:
                container.close()
        except (FFmpegError, OSError):
            pass  # the disk is full: the file goes anyway
        finally:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self._part.unlink()


def reraise(error: BaseException, path: Path) -> None:
    """Raise what a user can understand from what FFmpeg or the system reported while writing ``path``."""
    if isinstance(error, (FFmpegError, OSError)):
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise MediaError(
            f"{path} cannot be written ({reason}); check the folder's permissions and the free space on "
            "the disk."
        ) from error
    raise error


def _rename(part: Path, path: Path) -> None:
    try:
        os.replace(part, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # the working folder lies on another disk
        beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
        try:
            shutil.copyfile(part, beside)
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)
        part.unlink()


class VideoWriter:
    """Write displayed frames with exact times, and sound in step with them.

    Use as a context manager: the file appears under its name when the block ends without an exception and
    every frame of the timeline was written; after any exception, Ctrl-C included, nothing is left.

    Args:
        path:          .mp4, .mov or .mkv; an existing file is replaced at the end.
        width, height: displayed pixels; odd ones are kept.
        timeline:      times (T,) and durations (T,) in seconds, one a frame.
        audio:         cut or padded to the timeline; None writes no sound.
        lossless:      RGB by x264 at quantiser 0, and FLAC (.mp4) or float PCM (.mov, .mkv).
        metadata:      tags; the value of ``xmp`` is stored as the XMP packet (.mp4, .mov).
        like:          source whose pixel aspect and colour tags are repeated.
    Raises:
        MediaError: another suffix, a folder that cannot be written to, a full disk, a frame too many or too
            few.
        ShapeError: a frame of another size.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        timeline: Timeline,
        audio: AudioClip | AudioStream | None = None,
        *,
        lossless: bool = False,
        metadata: dict[str, str] | None = None,
        like: VideoInfo | None = None,
    ) -> None:
        self.path = Path(path)
        self.width, self.height = width, height
        self._coding = picture_coding(
            format_of(self.path), width, height, timeline, lossless=lossless, like=like
        )
        self._file = OutputFile(self.path, self._coding, audio, metadata)
        self._done = 0

    def __enter__(self) -> VideoWriter:
        try:
            self._file.open()
        except BaseException as error:
            self._file.discard()
            reraise(error, self.path)
        return self

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame, (height, width, 3) uint8 RGB."""
        if self._done >= self._coding.frame_count:
            raise MediaError(
                f"A frame too many for {self.path}: its timeline has {self._coding.frame_count}."
            )
        picture = self._coding.picture(frame, self._done)
        try:
            self._done += 1
            for packet in self._file.stream.encode(picture):
                self._file.mux(packet)
            self._file.write_sound_until(self._coding.pts[self._done])
        except (FFmpegError, OSError) as error:
            reraise(error, self.path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                if self._done != self._coding.frame_count:
                    raise MediaError(
                        f"{self.path} was given {self._done} frames but its timeline has "
                        f"{self._coding.frame_count}."
                    )
                for packet in self._file.stream.encode(None):
                    self._file.mux(packet)
                self._file.finish()
        except BaseException as failure:
            self._file.discard()
            reraise(failure, self.path)
        finally:
            self._file.discard()


class MaskWriter(VideoWriter):
    """Write masks as grey video: black is untouched, white is replaced whole."""

    def write(self, frame: np.ndarray) -> None:
        """Write the next mask, (height, width) float in [0, 1] or uint8."""
        check_shape("mask", frame, self.height, self.width)
        grey = frame if frame.dtype == np.uint8 else (frame.clip(0, 1) * 255 + 0.5).astype(np.uint8)
        super().write(np.repeat(grey[..., None], 3, axis=2))
