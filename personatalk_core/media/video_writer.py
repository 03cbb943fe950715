"""Video files out, frame by frame, whole or not at all.

H.264 yuv420p and AAC in a form that browsers play, or RGB and sound without loss. The same frames give the same bytes.
"""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..checks import check_shape
from ..errors import MediaError, ShapeError
from ..types import AudioClip, Timeline, VideoInfo
from .audio import fit_audio
from .audio_writer import AudioTrack
from .colour import BT709, from_rgb, tag
from .frame_rate import exact_rate
from .mp4_boxes import set_clean_aperture
from .provenance import XMP_KEY, write_xmp

THREADS = 4  # fixed: the encoder's bytes depend on it
CRF = "16"  # visually lossless
STEADY = "mbtree=0"  # 2026-11: macroblock-tree gave other bytes from run to run where a side is no multiple of 16
VARIABLE_TIME_BASE = Fraction(1, 90_000)  # divides 24, 25, 30, 50, 60 and most containers' time bases
MOVIE_TIMESCALE = 90_000  # ticks a second of the edit lists; the default of 1000 cuts sound short by up to half a millisecond
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


class VideoWriter:
    """Write displayed frames with exact times, and sound in step with them.

    Use as a context manager: the file appears under its name when the block ends without an exception and every frame
    of the timeline was written; after any exception, Ctrl-C included, nothing is left.

    Args:
        path:          .mp4, .mov or .mkv; an existing file is replaced at the end.
        width, height: displayed pixels; odd ones are kept.
        timeline:      times (T,) and durations (T,) in seconds, one a frame.
        audio:         cut or padded to the timeline; None writes no sound.
        lossless:      RGB by x264 at quantiser 0, and FLAC (.mp4) or float PCM (.mov, .mkv).
        metadata:      tags; the value of ``xmp`` is stored as the XMP packet (.mp4, .mov).
        like:          source whose pixel aspect and colour tags are repeated.
    Raises:
        MediaError: another suffix, a folder that cannot be written to, a full disk, a frame too many or too few.
        ShapeError: a frame of another size.
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        timeline: Timeline,
        audio: AudioClip | None = None,
        *,
        lossless: bool = False,
        metadata: dict[str, str] | None = None,
        like: VideoInfo | None = None,
    ) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in FORMATS:
            raise MediaError(f"Output {self.path} ends in '{self.path.suffix}' but expected one of {', '.join(FORMATS)}.")
        self.width, self.height = width, height
        self._metadata = dict(metadata or {})
        self._xmp = self._metadata.pop(XMP_KEY, "")
        self._format = FORMATS[self.path.suffix.lower()]
        self._lossless = lossless
        self._like = like
        self._audio = audio
        self._time_base, self._rate = _clock(timeline)
        ends = [*np.asarray(timeline.times, np.float64), float(timeline.times[-1] + timeline.durations[-1])]
        self._pts = [round(end / self._time_base) for end in ends]  # (T + 1,): the last is the end
        self._duration = float(ends[-1])
        self._done = 0
        self._part: Path | None = None
        self._container: av.container.OutputContainer | None = None

    def __enter__(self) -> "VideoWriter":
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.stem}.", suffix=self.path.suffix)
            os.close(handle)
            self._part = Path(name)
            self._open()
        except BaseException as error:
            self._discard()
            _reraise(error, self.path)
        return self

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame, (height, width, 3) uint8 RGB."""
        check_shape("frame", frame, self.height, self.width, 3)
        if frame.dtype != np.uint8:
            raise ShapeError(f"frame has dtype {frame.dtype} but expected uint8.")
        if self._done >= len(self._pts) - 1:
            raise MediaError(f"A frame too many for {self.path}: its timeline has {len(self._pts) - 1}.")
        padded = np.pad(frame, ((0, self._pad[1]), (0, self._pad[0]), (0, 0)), mode="edge") if any(self._pad) else frame
        try:
            picture = from_rgb(padded, self._pixel_format, self._colour)
            picture.pts, picture.time_base = self._pts[self._done], self._time_base
            self._done += 1
            self._mux(self._stream.encode(picture))
            if self._track is not None:
                self._track.write_until(self._pts[self._done] * self._time_base, self._container)
        except (av.error.FFmpegError, OSError) as error:
            _reraise(error, self.path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                if self._done != len(self._pts) - 1:
                    raise MediaError(f"{self.path} was given {self._done} frames but its timeline has {len(self._pts) - 1}.")
                self._finish()
        except BaseException as failure:
            self._discard()
            _reraise(failure, self.path)
        finally:
            self._discard()

    def _open(self) -> None:
        mp4 = self._format in ("mp4", "mov")
        # without bitexact Matroska gives every file a random identity
        options = {"movflags": "+faststart", "movie_timescale": str(MOVIE_TIMESCALE)} if mp4 else {"fflags": "+bitexact"}
        self._container = av.open(str(self._part), "w", format=self._format, options=options)
        self._container.metadata.update(self._metadata)
        odd = self.width % 2 or self.height % 2
        self._colour = self._like.colour if self._like is not None else BT709
        if self._lossless:
            codec, coded_format, self._pixel_format, options = "libx264rgb", "rgb24", "rgb24", {"qp": "0", "preset": "veryfast"}
        else:
            # H.264 has no odd sizes with 4:2:0: MP4 cuts the last column with a clean aperture, Matroska keeps full chroma
            coded_format = "yuv444p" if odd and not mp4 else "yuv420p"
            codec, self._pixel_format, options = "libx264", coded_format, {"crf": CRF, "preset": "medium", "x264-params": STEADY}
        self._clean_aperture = bool(odd) and coded_format == "yuv420p"
        self._pad = (self.width % 2, self.height % 2) if self._clean_aperture else (0, 0)
        self._stream = self._container.add_stream(codec, rate=self._rate, options=options | {"threads": str(THREADS)})
        self._stream.width, self._stream.height = self.width + self._pad[0], self.height + self._pad[1]
        self._stream.pix_fmt = coded_format
        context = self._stream.codec_context
        context.time_base = self._stream.time_base = self._time_base
        tag(context, self._colour, rgb=self._lossless)
        if self._like is not None and self._like.pixel_aspect != 1:
            context.sample_aspect_ratio = self._like.pixel_aspect
        self._track = None
        if self._audio is not None:
            self._track = AudioTrack(self._container, fit_audio(self._audio, self._duration), self._format, lossless=self._lossless)

    def _mux(self, packets: list[av.Packet]) -> None:
        for packet in packets:
            at = round(packet.pts * packet.time_base / self._time_base)
            where = int(np.searchsorted(self._pts, at))
            packet.duration = round((self._pts[where + 1] - self._pts[where]) * self._time_base / packet.time_base)
            self._container.mux(packet)

    def _finish(self) -> None:
        self._mux(self._stream.encode(None))
        if self._track is not None:
            self._track.finish(self._container)
        container, self._container = self._container, None
        container.close()
        if self._clean_aperture:
            set_clean_aperture(self._part, self.width, self.height)
        if self._xmp and self._format in ("mp4", "mov"):
            write_xmp(self._part, self._xmp)
        os.chmod(self._part, 0o666 & ~_umask())
        os.replace(self._part, self.path)
        self._part = None

    def _discard(self) -> None:
        """Close and remove what is not finished."""
        container, self._container = self._container, None
        part, self._part = self._part, None
        try:
            if container is not None:
                container.close()
        except (av.error.FFmpegError, OSError):
            pass  # the disk is full: the file goes anyway
        finally:
            if part is not None:
                part.unlink(missing_ok=True)


class MaskWriter(VideoWriter):
    """Write masks as grey video: black is untouched, white is replaced whole."""

    def write(self, mask: np.ndarray) -> None:
        """Write the next mask, (height, width) float in [0, 1] or uint8."""
        check_shape("mask", mask, self.height, self.width)
        grey = mask if mask.dtype == np.uint8 else (np.asarray(mask).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        super().write(np.repeat(grey[..., None], 3, axis=2))


def _clock(timeline: Timeline) -> tuple[Fraction, Fraction]:
    """Time base and nominal rate: one tick a frame where the rate is constant, 1/90000 s where it varies."""
    times, durations = np.asarray(timeline.times, np.float64), np.asarray(timeline.durations, np.float64)
    check_shape("timeline times", times, len(durations))
    if len(times) == 0 or not (durations > 0).all() or not (np.diff(times) > 0).all():
        raise MediaError("The timeline is empty or stands still; every frame needs a duration above 0 and a later start than the last.")
    hint = Fraction(1 / float(durations[-1])).limit_denominator(1001)
    rate = exact_rate(times, hints=[hint])
    if rate is not None and abs(float(durations[-1] * rate) - 1) < 1e-4:
        return 1 / rate, rate
    mean = Fraction(len(times) / float(times[-1] + durations[-1])).limit_denominator(1001)
    return VARIABLE_TIME_BASE, mean or Fraction(1)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _reraise(error: BaseException, path: Path) -> None:
    """Raise what a user can understand from what FFmpeg or the system reported."""
    if isinstance(error, (av.error.FFmpegError, OSError)):
        reason = (getattr(error, "strerror", None) or str(error)).rstrip(".")
        raise MediaError(f"{path} cannot be written ({reason}); check the folder's permissions and the free space on the disk.") from error
    raise error
