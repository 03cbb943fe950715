"""How the pictures of an output are coded: H.264 yuv420p in a form that browsers play, or RGB without
loss."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import OutputContainer

from ..checks import check_shape
from ..errors import MediaError, ShapeError
from ..types import Timeline, VideoInfo
from .colour import BT709, from_rgb, tag
from .timing import exact_rate

THREADS = 4  # fixed: the encoder's bytes depend on it
CRF = "16"  # visually lossless
# 2026-11: macroblock-tree gave other bytes from run to run where a side is no multiple of 16
STEADY = "mbtree=0"
VARIABLE_TIME_BASE = Fraction(1, 90_000)  # divides 24, 25, 30, 50, 60 and most containers' time bases
FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska"}


@dataclass(frozen=True, eq=False)
class PictureCoding:
    """Everything an encoder must be told. width, height: displayed pixels.  pad: columns and rows added for
    an odd size.

    pts (T + 1,) int64: start of each frame in ticks of time_base; the last is the end.
    """

    width: int
    height: int
    pad: tuple[int, int]
    codec: str
    coded_format: str
    pixel_format: str
    options: dict[str, str]
    colour: tuple[int, int, int]
    aspect: Fraction
    rate: Fraction
    time_base: Fraction
    pts: np.ndarray
    lossless: bool

    @property
    def frame_count(self) -> int:
        return len(self.pts) - 1

    def add_stream(self, container: OutputContainer) -> av.VideoStream:
        """A stream of ``container`` that codes pictures this way."""
        options = self.options | {"threads": str(THREADS)}
        stream = cast("av.VideoStream", container.add_stream(self.codec, rate=self.rate, options=options))
        stream.width, stream.height = self.width + self.pad[0], self.height + self.pad[1]
        stream.pix_fmt = self.coded_format
        context = stream.codec_context
        context.time_base = stream.time_base = self.time_base
        tag(context, self.colour, rgb=self.lossless)
        if self.aspect != 1:
            context.sample_aspect_ratio = self.aspect
        return stream

    def picture(self, frame: np.ndarray, number: int) -> av.VideoFrame:
        """Frame ``number``, (height, width, 3) uint8 RGB, as the encoder takes it. Raises ShapeError for
        another size or dtype."""
        check_shape("frame", frame, self.height, self.width, 3)
        if frame.dtype != np.uint8:
            raise ShapeError(f"frame has dtype {frame.dtype} but expected uint8.")
        padded = (
            np.pad(frame, ((0, self.pad[1]), (0, self.pad[0]), (0, 0)), mode="edge")
            if any(self.pad)
            else frame
        )
        picture = from_rgb(padded, self.pixel_format, self.colour)
        picture.pts, picture.time_base = int(self.pts[number]), self.time_base
        return picture

    def start_of(self, packet: av.Packet) -> int:
        """When a coded picture is shown, in ticks. Raises MediaError for one without a time stamp."""
        if packet.pts is None or packet.time_base is None:
            raise MediaError("The encoder gave a picture without a time stamp; install PyAV again.")
        return round(packet.pts * packet.time_base / self.time_base)

    def duration_at(self, pts: int) -> int:
        """Ticks that the frame with this time stamp is shown."""
        number = int(np.searchsorted(self.pts, pts))
        return int(self.pts[number + 1] - self.pts[number])


def format_of(path: Path) -> str:
    """FFmpeg's name of an output's format. Raises MediaError for another suffix than .mp4, .m4v, .mov or
    .mkv."""
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise MediaError(
            f"Output {path} ends in '{Path(path).suffix}' but expected one of {', '.join(FORMATS)}."
        )
    return FORMATS[suffix]


def picture_coding(
    file_format: str,
    width: int,
    height: int,
    timeline: Timeline,
    *,
    lossless: bool = False,
    like: VideoInfo | None = None,
) -> PictureCoding:
    """The coding of an output.

    Args:
        file_format:   from :func:`format_of`.
        width, height: displayed pixels; odd ones are kept.
        timeline:      times (T,) and durations (T,) in seconds, one a frame.
        like:          source whose pixel aspect and colour tags are repeated.
    Raises:
        MediaError: the timeline has no frame, or its times do not rise.
    """
    mp4 = file_format in ("mp4", "mov")
    odd = width % 2 or height % 2
    if lossless:
        codec, coded_format, pixel_format = "libx264rgb", "rgb24", "rgb24"
        options = {"qp": "0", "preset": "veryfast"}
    else:
        # H.264 has no odd sizes with 4:2:0: MP4 cuts the last column with a clean aperture, Matroska keeps
        # full chroma
        coded_format = "yuv444p" if odd and not mp4 else "yuv420p"
        codec, pixel_format = "libx264", coded_format
        options = {"crf": CRF, "preset": "medium", "x264-params": STEADY}
    time_base, rate = _clock(timeline)
    ends = np.append(
        np.asarray(timeline.times, np.float64), float(timeline.times[-1] + timeline.durations[-1])
    )
    return PictureCoding(
        width=width,
        height=height,
        pad=(width % 2, height % 2) if odd and coded_format == "yuv420p" else (0, 0),
        codec=codec,
        coded_format=coded_format,
        pixel_format=pixel_format,
        options=options,
        colour=like.colour if like is not None else BT709,
        aspect=like.pixel_aspect if like is not None else Fraction(1),
        rate=rate,
        time_base=time_base,
        pts=np.array([round(end / time_base) for end in ends.tolist()], np.int64),
        lossless=lossless,
    )


def _clock(timeline: Timeline) -> tuple[Fraction, Fraction]:
    """Time base and nominal rate: one tick a frame where the rate is constant, 1/90000 s where it varies."""
    times, durations = np.asarray(timeline.times, np.float64), np.asarray(timeline.durations, np.float64)
    check_shape("timeline times", times, len(durations))
    if len(times) == 0 or not (durations > 0).all() or not (np.diff(times) > 0).all():
        raise MediaError(
            "The timeline is empty or stands still; every frame needs a duration above 0 and a later start "
            "than the last."
        )
    hint = Fraction(1 / float(durations[-1])).limit_denominator(1001)
    rate = exact_rate(times, hints=[hint])
    if rate is not None and abs(float(durations[-1] * rate) - 1) < 1e-4:
        return 1 / rate, rate
    mean = Fraction(len(times) / float(times[-1] + durations[-1])).limit_denominator(1001)
    return VARIABLE_TIME_BASE, mean or Fraction(1)
