"""Any frame of a video by its number, decoding as little as possible and holding a bounded number of frames.

Forward reading streams. A step back seeks to the keyframe before the wanted frame and decodes up to it,
keeping as many of the frames on the way as the budget allows, so that reading backwards costs a few passes
over each group of pictures.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from ..checks import check_frame_size
from ..errors import MediaError
from ..types import VideoInfo
from .colour import tags_of
from .frame_index import open_media, packets_of, video_stream

BUDGET = 256 << 20  # bytes of decoded frames kept for reading backwards
LEAP = 48  # frames: a shorter way forward is decoded through rather than sought
THREADS = 4  # each decoding thread holds frames of its own
SEEK_TRIES = 3  # keyframes to go back before giving in and reading from the start


class FrameDecoder:
    """Decoded frames of one file by number. Not thread-safe. ``damaged``: numbers for which a neighbour
    stands in."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.damaged: set[int] = set()
        self._keyframes = np.zeros(0, np.int64) if info.keyframe is None else np.flatnonzero(info.keyframe)
        self._many = max(2, BUDGET // (2 * info.width * info.height))
        self._keep = 1
        self._held: OrderedDict[int, av.VideoFrame] = OrderedDict()
        self._position = -1  # everything up to here was read or is behind the seek point
        self._container: InputContainer | None = None
        self._open()

    def __enter__(self) -> "FrameDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and forget every frame."""
        self._stream, self._next = iter(()), None
        self._held.clear()
        if self._container is not None:
            self._container.close()
            self._container = None

    def get(self, number: int) -> av.VideoFrame:
        """Frame ``number``. One that cannot be decoded is replaced by the one before it, else by the one
        after it.

        Raises:
            MediaError: no frame decodes from any keyframe up to there.
        """
        if number in self._held:
            return self._held[number]
        keyframe = self._keyframe(number)
        if number <= self._position:
            self._keep = self._many  # reading backwards: the frames before this one are wanted next
            self._seek(keyframe)
        else:
            self._keep = 1
            if number - self._position > LEAP and keyframe > self._position + 1:
                self._seek(keyframe)
        self._read_to(number)
        while number not in self._held:
            self.damaged.add(number)
            stand_in = next(reversed(self._held.values()), None) or (self._next and self._next[1])
            if stand_in is not None:
                self._hold(number, stand_in)
            elif keyframe > 0:
                keyframe = self._keyframe(keyframe - 1)
                self._seek(keyframe)
                self._read_to(number)
            else:
                raise MediaError(
                    f"{self.info.path} cannot be read: frame {number} and those before it are broken; "
                    "export the video again."
                )
        return self._held[number]

    def _read_to(self, number: int) -> None:
        while self._next is not None and self._next[0] <= number:
            self._hold(*self._next)
            self._next = next(self._stream, None)
        self._position = number

    def _hold(self, number: int, frame: av.VideoFrame) -> None:
        self._held[number] = frame
        while len(self._held) > self._keep:
            self._held.popitem(last=False)

    def _keyframe(self, number: int) -> int:
        """The last keyframe not after ``number``; 0 where there is none or the file cannot be sought in."""
        place = int(np.searchsorted(self._keyframes, number, side="right")) - 1
        return int(self._keyframes[place]) if place >= 0 else 0

    def _seek(self, keyframe: int) -> None:
        """Go on from ``keyframe``, or from somewhere before it."""
        self._held.clear()
        target = keyframe
        for _ in range(SEEK_TRIES):
            if target <= 0 or self._container is None or self.info.pts is None:
                break
            try:
                self._container.seek(int(self.info.pts[target]), stream=self._video, backward=True)
            except FFmpegError:
                break
            self._stream = self._frames()
            self._next = next(self._stream, None)
            if self._next is not None and self._next[0] <= keyframe:
                self._position = self._next[0] - 1
                return
            target = self._keyframe(target - 1)
        self._open()

    def _open(self) -> None:
        self.close()
        self._container = open_media(self.info.path)
        self._video = video_stream(self._container, self.info.path)
        self._video.thread_type = "AUTO"
        self._video.codec_context.thread_count = THREADS
        self._position = -1
        self._stream = self._frames()
        self._next = next(self._stream, None)

    def _frames(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, frame) in rising order; broken packets are skipped."""
        last, count = -1, self.info.frame_count
        for frame in self._decoded():
            number = self._number(frame, last)
            if last < number < count:
                yield number, frame
                last = number

    def _number(self, frame: av.VideoFrame, last: int) -> int:
        if self.info.pts is None:
            return last + 1
        if frame.pts is None:
            return -1
        place = int(np.searchsorted(self.info.pts, frame.pts))
        return place if place < self.info.frame_count and self.info.pts[place] == frame.pts else -1

    def _decoded(self) -> Iterator[av.VideoFrame]:
        if self._container is None:
            return
        for packet in packets_of(self._container, self._video):
            try:
                yield from packet.decode()
            except FFmpegError:
                continue
        try:
            yield from self._video.decode(None)
        except FFmpegError:
            return


def first_frame(path: Path) -> tuple[av.VideoFrame, tuple[int, int, int]]:
    """The first frame that decodes, and the file's H.273 primaries, transfer and matrix. Raises MediaError:
    none does."""
    with open_media(path) as container:
        stream = video_stream(container, path)
        check_frame_size(path, stream.codec_context.width, stream.codec_context.height)
        for packet in packets_of(container, stream):
            try:
                for frame in packet.decode():
                    return frame, tags_of(stream.codec_context)
            except FFmpegError:
                continue
        with suppress(FFmpegError):
            for frame in stream.decode(None):
                return frame, tags_of(stream.codec_context)
    raise MediaError(
        f"{path} has a video stream but none of its frames can be decoded; export the video again."
    )
