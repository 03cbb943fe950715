"""A video coded in segments that are kept as they are finished, and joined without coding a picture again.

Each segment is a closed group of pictures from an encoder of its own, so it does not depend on the others:
the joined file is the same whether the segments were made in one run or in twenty that were killed.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch

from ..errors import MediaError
from ..types import AudioClip, Cache, OnProgress
from .audio_stream import AudioStream
from .picture_coding import PictureCoding
from .video_writer import OutputFile, reraise

REORDER = 2  # frames by which x264 with a pyramid of B-frames decodes ahead of showing


class SegmentedVideo:
    """The coded segments of one output in a cache: the packets in a file, its table of contents saved when
    it is complete.

    Args:
        cache:   where finished segments are kept.
        name:    of this video among others in the cache.
        coding:  of the output.
        path:    the output.
        segment: frames of a segment.
    """

    def __init__(self, cache: Cache, name: str, coding: PictureCoding, path: Path, segment: int) -> None:
        self._cache, self._name, self.coding, self._path = cache, name, coding, Path(path)
        self._segment = segment

    @property
    def count(self) -> int:
        """Segments of the video."""
        return -(-self.coding.frame_count // self._segment)

    def frames(self, number: int) -> range:
        """Output frames of a segment."""
        return range(number * self._segment, min((number + 1) * self._segment, self.coding.frame_count))

    def finished(self, number: int) -> bool:
        """The segment is in the cache, complete."""
        return self._contents(number) is not None

    def writer(self, number: int) -> SegmentWriter:
        """A context manager that codes a segment's frames and keeps it."""
        return SegmentWriter(self, number)

    def join(
        self,
        sound: AudioClip | AudioStream | None,
        metadata: dict[str, str],
        part: Path,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Write all segments, and the sound in step, to the output, which appears when it is complete.

        Args:
            sound, metadata: as OutputFile takes them.
            part:            the name it is written under first.
        Raises:
            MediaError: a segment is missing, or the file cannot be written.
        """
        file, pts = OutputFile(self._path, self.coding, sound, metadata, part), self.coding.pts
        try:
            file.open()
            for place, packet in enumerate(self._packets()):
                packet.stream = file.stream
                packet.time_base = self.coding.time_base
                packet.dts = _decode_time(pts, place)
                file.mux(packet)
                file.write_sound_until(pts[min(place + 1, len(pts) - 1)])
                if on_progress is not None and (place + 1) % self._segment == 0:
                    on_progress(min(place + 1, self.coding.frame_count), self.coding.frame_count)
            file.finish()
        except BaseException as error:
            file.discard()
            reraise(error, self._path)
        finally:
            file.discard()

    def _packets(self) -> Iterator[av.Packet]:
        for number in range(self.count):
            contents = self._contents(number)
            if contents is None:
                raise MediaError(
                    f"A finished part of {self._path} is gone from {self._data(number).parent}; run the "
                    "same command again."
                )
            with self._data(number).open("rb") as data:
                for size, pts, key in zip(
                    *(contents[name].tolist() for name in ("size", "pts", "keyframe")), strict=True
                ):
                    packet = av.Packet(data.read(size))
                    packet.pts, packet.is_keyframe = pts, bool(key)
                    yield packet

    def _contents(self, number: int) -> dict[str, torch.Tensor] | None:
        entry = self._cache.load(self._entry(number))
        if entry is None or not self._data(number).is_file():
            return None
        complete = self._data(number).stat().st_size == int(entry.tensors["size"].sum())
        return entry.tensors if complete else None

    def _entry(self, number: int) -> str:
        return f"{self._name}-{number:05d}"

    def _data(self, number: int) -> Path:
        return self._cache.path(f"{self._entry(number)}.h264")


class SegmentWriter:
    """Codes the frames of one segment. Nothing counts as finished before the block ends without an
    exception."""

    def __init__(self, video: SegmentedVideo, number: int) -> None:
        self._video, self._number = video, number
        self._frames = video.frames(number)
        self._done = 0
        self._rows: list[tuple[int, int, bool]] = []

    def __enter__(self) -> SegmentWriter:
        try:
            self._data = self._video._data(self._number).open("wb")
        except OSError as error:
            reraise(error, self._video._path)
        # gives the encoder the flags that the output's container gives it
        self._host = av.open(_NullFile(), "w", format="mp4")
        self._stream = self._video.coding.add_stream(self._host)
        return self

    def write(self, frame: np.ndarray) -> None:
        """Code the next frame, (height, width, 3) uint8 RGB."""
        picture = self._video.coding.picture(frame, self._frames[self._done])
        self._done += 1
        self._keep(self._stream.encode(picture))

    def _keep(self, packets: list[av.Packet]) -> None:
        try:
            for packet in packets:
                start = self._video.coding.start_of(packet)
                self._rows.append((packet.size, start, packet.is_keyframe))
                self._data.write(bytes(packet))
        except OSError as error:
            reraise(error, self._video._path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                if self._done != len(self._frames):
                    raise MediaError(
                        f"A part of {self._video._path} was given {self._done} frames but has "
                        f"{len(self._frames)}."
                    )
                self._keep(self._stream.encode(None))
                self._data.close()
                size, pts, keyframe = (torch.tensor(column) for column in zip(*self._rows, strict=True))
                table = {"size": size, "pts": pts, "keyframe": keyframe}
                self._video._cache.save(self._video._entry(self._number), table)
        except OSError as failure:
            reraise(failure, self._video._path)
        finally:
            self._close()
        if kind is None:
            # an encoder and its container refer to each other: it would live on with all the pictures it
            # looks ahead at
            gc.collect()

    def _close(self) -> None:
        """Let the file and the encoder go; what a full disk says now was said before."""
        try:
            self._data.close()
        except OSError:
            pass
        finally:
            del self._stream, self._host


class _NullFile:
    """A file that keeps nothing."""

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0


def _decode_time(pts: np.ndarray, place: int) -> int:
    """Decoding time of the packet at this place in coding order: when the frame REORDER before it is shown,
    as x264 does it."""
    if place >= REORDER:
        return int(pts[place - REORDER])
    return int(pts[place] - (pts[min(REORDER, len(pts) - 1)] - pts[0]))
