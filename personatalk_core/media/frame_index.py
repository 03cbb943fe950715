"""Where each frame of a video file lies in time, from its packets, without decoding them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Discard, Disposition, Stream

from ..checks import MAX_FRAMES, MAX_PIXELS
from ..errors import MediaError
from .timing import FALLBACK_RATE, durations_of, exact_rate, rate_times

# packets there do not say when they are shown
NO_SEEKING = ("avi", "gif", "h264", "hevc", "m4v", "image2", "webp_pipe")
# show_frame bit of a VP8 frame header: alternate references are packets without a picture
INVISIBLE_VP8 = 0x10


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """times, durations (T,) seconds from the first frame; rate None where it varies; pts, keyframe as
    VideoInfo; start: seconds of the first frame on the container's clock.  promised: frames that the header
    states, 0 unknown."""

    times: np.ndarray
    durations: np.ndarray
    rate: Fraction | None
    pts: np.ndarray | None
    keyframe: np.ndarray | None
    time_base: Fraction
    start: float
    promised: int = 0


def check_media(path: Path) -> None:
    """Refuse a path that no media file can be at. Raises MediaError: missing, a folder, empty, or closed to
    this user."""
    path = Path(path)
    try:
        if not path.exists():
            raise MediaError(f"{path} does not exist; pass the path of a video or sound file.")
        if path.is_dir():
            raise MediaError(f"{path} is a folder; pass the path of a video or sound file.")
        if path.stat().st_size == 0:
            raise MediaError(f"{path} is empty (0 bytes); copy or download it again.")
        with path.open("rb"):
            pass
    except OSError as error:
        raise MediaError(
            f"{path} cannot be opened ({error.strerror}); check its name and its permissions."
        ) from error


def open_media(path: Path) -> InputContainer:
    """Open a media file. Raises MediaError: as :func:`check_media`, or nothing that FFmpeg can read."""
    path = Path(path)
    check_media(path)
    try:
        return av.open(str(path), metadata_errors="ignore")
    except (FFmpegError, OSError, ValueError) as error:
        raise MediaError(
            f"{path} cannot be read as video or sound ({_reason(error)}); it is damaged or of an unknown "
            "format."
        ) from error


def video_stream(container: InputContainer, path: Path) -> av.VideoStream:
    """The stream to dub: the first that is moving pictures rather than a cover image. Raises MediaError:
    there is none."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise MediaError(f"{path} has no video stream; pass a file with moving pictures.")
    if streams[0].codec_context is None:
        raise MediaError(
            f"{path} has a video stream of a kind that this FFmpeg cannot decode; export it as H.264."
        )
    streams[0].codec_context.options = {"max_pixels": str(MAX_PIXELS)}  # for streams that grow half-way
    return streams[0]


def exact_time_base(timed: Stream | av.Packet | av.AudioFrame) -> Fraction:
    """Seconds a tick of a stream's or packet's time stamps."""
    return Fraction(timed.time_base or 1)


def packets_of(container: InputContainer, stream: Stream) -> Iterator[av.Packet]:
    """A stream's packets until the end, or until the file breaks off: a truncated file ends where it ends."""
    for other in container.streams:  # do not even read the others
        if other.index != stream.index:
            other.discard = Discard.all
    demuxer = container.demux(stream)
    while True:
        try:
            packet = next(demuxer)
        except (StopIteration, FFmpegError):
            return
        if packet.size:
            yield packet


def index_frames(container: InputContainer, stream: av.VideoStream, path: Path) -> FrameIndex:
    """Read every packet's time.

    Raises:
        MediaError: not a single frame.
    """
    # read the packets; count those that are never shown
    rows, count, hidden = [], 0, 0
    vp8 = stream.codec_context.name == "vp8"
    time_base = exact_time_base(stream)
    for packet in packets_of(container, stream):
        if packet.is_discard or (vp8 and not bytes(packet)[0] & INVISIBLE_VP8):
            hidden += 1
            continue
        count += 1
        if count > MAX_FRAMES:
            raise MediaError(f"{path} has more than {MAX_FRAMES} frames; cut it.")
        if packet.pts is not None:
            rows.append((packet.pts, packet.duration or 0, packet.is_keyframe))
    if count == 0:
        raise MediaError(f"{path} has a video stream without a single frame; export the video again.")
    hints = (stream.guessed_rate, stream.average_rate)
    promised = max(0, stream.frames - hidden)
    pts, ticks, keyframe = (
        (np.array(column) for column in zip(*sorted(rows), strict=True))
        if rows
        else (np.zeros(0, np.int64),) * 3
    )

    # without usable time stamps: the order of the file, the rate that it states
    if len(pts) != count or (np.diff(pts) <= 0).any():
        rate = next((Fraction(r) for r in hints if r), FALLBACK_RATE)
        start = float((stream.start_time or 0) * time_base)
        return FrameIndex(
            rate_times(rate, count),
            np.full(count, float(1 / rate)),
            rate,
            None,
            None,
            time_base,
            start,
            promised,
        )

    # the exact rate behind the rounded time stamps, or each frame's own duration
    tick = float(time_base)
    times = (pts - pts[0]) * tick
    rate = exact_rate(times, tick, hints)
    if rate is not None:
        times, durations = rate_times(rate, count), np.full(count, float(1 / rate))
    else:
        typical = float(np.median(np.diff(times))) if count > 1 else float(1 / FALLBACK_RATE)
        durations = durations_of(times, float(ticks[-1]) * tick or typical)
    if container.format.name in NO_SEEKING:
        return FrameIndex(times, durations, rate, None, None, time_base, float(pts[0]) * tick, promised)
    return FrameIndex(
        times,
        durations,
        rate,
        pts.astype(np.int64),
        keyframe.astype(bool),
        time_base,
        float(pts[0]) * tick,
        promised,
    )


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).strip().rstrip(".")
