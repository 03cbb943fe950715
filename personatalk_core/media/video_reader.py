"""Video files in: what they hold, and their frames in any order, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from os.path import isfile  # False, where Path.is_file raises for a name that is too long
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from ..checks import check_frame_size, check_length
from ..errors import MediaError
from ..types import ClipFrames, VideoInfo
from ..weights.checkpoint import sha256_of
from .colour import Orientation, cut_to, remarks_on, same_size, tags_for_output, to_rgb
from .frame_decoder import FrameDecoder, first_frame
from .frame_index import FrameIndex, check_media, index_frames, open_media, video_stream
from .mp4_boxes import clean_aperture
from .provenance import read_marks


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
    if not isfile(path):
        from .image_sequence import is_sequence, probe_sequence  # most inputs need neither this nor Pillow

        if is_sequence(path):
            return probe_sequence(path)
    check_media(path)
    if is_animated_webp(path):
        from .image_sequence import probe_webp

        return probe_webp(path)

    # times from the packets, sizes and colours from the first frame
    with open_media(path) as container:
        stream = video_stream(container, path)
        width, height = stream.codec_context.width, stream.codec_context.height
        check_frame_size(path, width, height)
        index = index_frames(container, stream, path)
        has_audio = bool(container.streams.audio)
        aspect = Fraction(stream.sample_aspect_ratio or 1)
    check_length(path, float(index.times[-1] + index.durations[-1]), len(index.times))
    first, tags = first_frame(path)
    orientation = Orientation.of_frame(first)
    aperture = clean_aperture(path)
    picture = orientation.apply(cut_to(to_rgb(first), aperture))
    average = index.rate or Fraction(
        len(index.times) / float(index.times[-1] + index.durations[-1])
    ).limit_denominator(100_000)
    return VideoInfo(
        path=path,
        width=picture.shape[1],
        height=picture.shape[0],
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


def is_animated_webp(path: Path) -> bool:
    """The file is an animated WebP, which FFmpeg does not decode; told from its first bytes."""
    with Path(path).open("rb") as stream:
        head = stream.read(21)
    return head[:4] == b"RIFF" and head[8:16] == b"WEBPVP8X" and len(head) == 21 and bool(head[20] & 0x02)


class Decoder(Protocol):
    """Frames of one input by number. ``damaged``: those for which a neighbour stands in."""

    damaged: set[int]

    def __enter__(self) -> Decoder: ...

    def __exit__(self, *_: object) -> None: ...

    def get(self, number: int) -> av.VideoFrame:
        """Frame ``number`` from 0. Raises MediaError."""
        ...


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
                runs stream; falling runs decode each group of pictures a few times; both in bounded memory.
        Yields:
            (H, W, 3) uint8 RGB, rotation applied, one for each index; a frame that cannot be decoded repeats
            the one before it and is listed in ``damaged``.
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
                    picture, last = self._displayed(frame), number
                    self.damaged |= decoder.damaged
                    yield picture
                else:
                    yield picture.copy()

    def _displayed(self, frame: av.VideoFrame) -> np.ndarray:
        picture = cut_to(to_rgb(frame), self.info.clean_aperture)
        return same_size(self._oriented(frame).apply(picture), self.info)

    def _oriented(self, frame: av.VideoFrame) -> Orientation:
        """As :meth:`Orientation.of_frame`, which is asked once an angle: a frame whose side data was read
        lives until garbage is collected."""
        degrees = int(frame.rotation)
        if degrees not in self._orientation:
            self._orientation[degrees] = Orientation.of_frame(frame)
        return self._orientation[degrees]


def _decoder(info: VideoInfo) -> Decoder:
    if not isfile(info.path):
        from .image_sequence import SequenceDecoder, is_sequence

        if is_sequence(info.path):
            return SequenceDecoder(info)
    elif is_animated_webp(info.path):
        from .image_sequence import WebpDecoder

        return WebpDecoder(info)
    return FrameDecoder(info)


def _remarks(path: Path, first: av.VideoFrame, transfer: int, index: FrameIndex) -> tuple[str, ...]:
    remarks = list(remarks_on(first, transfer))
    if index.promised > len(index.times):
        remarks.append(
            f"The video breaks off: its header states {index.promised} frames but {len(index.times)} are "
            "in the file."
        )
    return (*remarks, *read_marks(path).remarks())
