"""Video files in: what they hold, and their frames in any order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..errors import MediaError
from ..types import ClipFrames, VideoInfo
from ..weights.checkpoint import sha256_of
from .colour import Orientation, remarks_on, same_size, tags_for_output, to_rgb
from .frame_decoder import FrameDecoder, first_frame
from .frame_index import FrameIndex, check_media, index_frames, open_media, video_stream
from .image_sequence import SequenceDecoder, find_sequence, is_sequence, sequence_hash, sequence_times
from .limits import check_frame_size, check_length
from .mp4_boxes import clean_aperture
from .provenance import read_marks
from .timing import exact_rate, rate_times
from .webp_animation import WebpDecoder, webp_durations


def probe(path: Path) -> VideoInfo:
    """What a video holds: exact frame times from its packets, and its displayed size from its first frame.

    Args:
        path: any file that FFmpeg reads, an animated WebP, or a folder or pattern of pictures
            (image_sequence).
    Returns:
        VideoInfo with pts and keyframes, so that a reader made from it needs no second look.
    Raises:
        MediaError: missing, unreadable, without a video stream, without a frame, or too large.
    """
    path = Path(path)
    if is_sequence(path):
        return _probe_sequence(path)
    check_media(path)
    durations = webp_durations(path)
    if durations is not None:
        return _probe_webp(path, durations)
    with open_media(path) as container:
        stream = video_stream(container, path)
        width, height = stream.codec_context.width, stream.codec_context.height
        check_frame_size(path, width, height)
        index = index_frames(container, stream, path)
        has_audio = bool(container.streams.audio)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
    check_length(path, float(index.times[-1] + index.durations[-1]), len(index.times))
    first, tags = first_frame(path)
    orientation = orientation_of(first)
    aperture = clean_aperture(path)
    shown = orientation.apply(cut_to(to_rgb(first), aperture))
    average = index.rate or Fraction(
        len(index.times) / float(index.times[-1] + index.durations[-1])
    ).limit_denominator(100_000)
    return VideoInfo(
        path=path,
        width=shown.shape[1],
        height=shown.shape[0],
        times=index.times,
        durations=index.durations,
        rate=average,
        constant_rate=index.rate is not None,
        has_audio=has_audio,
        sha256=sha256_of(path),
        pixel_aspect=(1 / aspect if orientation.swap else aspect) if aspect > 0 else Fraction(1),
        colour=tags_for_output(*tags),
        pts=index.pts,
        time_base=index.time_base,
        keyframe=index.keyframe,
        clean_aperture=aperture,
        remarks=_remarks(path, first, tags[1], index),
    )


def orientation_of(frame: av.VideoFrame) -> Orientation:
    """How this frame is turned before it is shown."""
    try:
        matrix = frame.side_data.get("DISPLAYMATRIX")
    except (
        ValueError
    ):  # PyAV refuses all side data where it does not know one kind of it, such as the Exif of a TIFF
        return Orientation.of_degrees(int(getattr(frame, "rotation", 0)))
    return Orientation.of_matrix(bytes(matrix)) if matrix is not None else Orientation()


class VideoReader:
    """The displayed frames of one video. Each call of :meth:`frames` opens the file for itself; ``damaged``
    fills while reading."""

    def __init__(self, source: VideoInfo | Path) -> None:
        self.info = source if isinstance(source, VideoInfo) else probe(source)
        self.damaged: set[int] = set()
        self._orientation: dict[int, Orientation] = {}  # by degrees

    def clip_frames(self) -> ClipFrames:
        """The whole clip as a tracker wants it: frames from any number on, their times and their size."""
        info = self.info
        return ClipFrames(
            lambda first: self.frames(range(first, info.frame_count)),
            info.times,
            (info.height, info.width),
            info.sha256,
        )

    def frames(self, indices: Iterable[int] | None = None) -> Iterator[np.ndarray]:
        """Decode frames in the order asked for.

        Args:
            indices: frame numbers, in any order and repeated at will; None is all, from first to last. Rising
                runs
                stream; falling runs decode each group of pictures a few times; both in bounded memory.
        Yields:
            (H, W, 3) uint8 RGB, rotation applied, one for each index; a frame that cannot be decoded repeats
            the one
            before it and is listed in ``damaged``.
        Raises:
            MediaError: an index outside the video, the file has gone, or nothing in it decodes.
        """
        last, picture = -1, None
        with _decoder(self.info) as decoder:
            for number in range(self.info.frame_count) if indices is None else indices:
                number = int(number)
                if not 0 <= number < self.info.frame_count:
                    raise MediaError(
                        f"frame {number} was asked for but {self.info.path} has frames 0 to "
                        f"{self.info.frame_count - 1}."
                    )
                if number != last or picture is None:
                    frame = decoder.get(number)
                    picture, last = self._shown(frame), number
                    self.damaged |= decoder.damaged
                    yield picture
                else:
                    yield picture.copy()

    def _shown(self, frame: av.VideoFrame) -> np.ndarray:
        picture = cut_to(to_rgb(frame), self.info.clean_aperture)
        return same_size(self._oriented(frame).apply(picture), self.info)

    def _oriented(self, frame: av.VideoFrame) -> Orientation:
        """As :func:`orientation_of`, which is asked once an angle: a frame whose side data was read lives
        until garbage is collected."""
        degrees = int(frame.rotation)
        if degrees not in self._orientation:
            self._orientation[degrees] = orientation_of(frame)
        return self._orientation[degrees]


def cut_to(picture: np.ndarray, aperture: tuple[int, int, int, int] | None) -> np.ndarray:
    """The clean aperture of a stored picture; the same array where there is none or the decoder has cut it
    already."""
    if aperture is None or picture.shape[1] < aperture[2] or picture.shape[0] < aperture[3]:
        return picture
    left, top, right, bottom = aperture
    return np.ascontiguousarray(picture[top:bottom, left:right])


def _decoder(info: VideoInfo) -> FrameDecoder | WebpDecoder | SequenceDecoder:
    if is_sequence(info.path):
        return SequenceDecoder(info)
    return (WebpDecoder if webp_durations(info.path) is not None else FrameDecoder)(info)


def _probe_sequence(path: Path) -> VideoInfo:
    sequence = find_sequence(path)
    first, tags = first_frame(sequence.files[0])
    shown = orientation_of(first).apply(to_rgb(first))
    times, durations = sequence_times(sequence)
    check_length(path, float(times[-1] + durations[-1]))
    return VideoInfo(
        path=path,
        width=shown.shape[1],
        height=shown.shape[0],
        times=times,
        durations=durations,
        rate=sequence.rate,
        constant_rate=True,
        has_audio=False,
        sha256=sequence_hash(sequence),
        remarks=(*remarks_on(first, tags[1]), *read_marks(sequence.files[0]).remarks()),
    )


def _probe_webp(path: Path, durations: np.ndarray) -> VideoInfo:
    with path.open("rb") as stream:
        canvas = stream.read(30)[24:30]
    size = [int.from_bytes(part, "little") + 1 for part in (canvas[:3], canvas[3:])]
    check_frame_size(path, *size)
    times = np.concatenate([[0.0], np.cumsum(durations)[:-1]])
    rate = exact_rate(times, 0.001)
    count = len(durations)
    info = VideoInfo(
        path=path,
        width=size[0],
        height=size[1],
        times=times if rate is None else rate_times(rate, count),
        durations=durations if rate is None else np.full(count, float(1 / rate)),
        rate=rate or Fraction(count / float(durations.sum())).limit_denominator(100_000),
        constant_rate=rate is not None,
        has_audio=False,
        sha256=sha256_of(path),
        remarks=read_marks(path).remarks(),
    )
    with WebpDecoder(info) as decoder:
        decoder.get(0)
    return info


def _remarks(path: Path, first: av.VideoFrame, transfer: int, index: FrameIndex) -> tuple[str, ...]:
    remarks = list(remarks_on(first, transfer))
    if index.promised > len(index.times):
        remarks.append(
            f"The video breaks off: its header states {index.promised} frames but {len(index.times)} "
            "are in the file."
        )
    return (*remarks, *read_marks(path).remarks())
