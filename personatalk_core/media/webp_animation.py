"""Animated WebP, which FFmpeg does not decode: times from the file's chunks, pictures from OpenCV, a few at a
time."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import cv2
import numpy as np

from ..errors import MediaError
from ..types import VideoInfo

ANIMATION_FLAG = 0x02  # of the VP8X chunk
SHORTEST = 0.011  # seconds: browsers show frames that state less for a tenth of a second
STANDARD = 0.1
BATCH = 32  # frames decoded at once, fewer where they are large
BUDGET = 256 << 20  # bytes of them
MAX_FRAMES = 100_000


def webp_durations(path: Path) -> np.ndarray | None:
    """(T,) seconds of an animated WebP's frames; None for any other file."""
    durations = []
    with Path(path).open("rb") as stream:
        head = stream.read(30)
        if (
            head[:4] != b"RIFF"
            or head[8:16] != b"WEBPVP8X"
            or len(head) < 30
            or not head[20] & ANIMATION_FLAG
        ):
            return None
        stream.seek(12)
        while len(durations) < MAX_FRAMES:
            header = stream.read(8)
            if len(header) < 8:
                break
            kind, size = struct.unpack("<4sI", header)
            body = stream.read(15) if kind == b"ANMF" and size >= 15 else b""
            if len(body) == 15:
                durations.append(int.from_bytes(body[12:15], "little") / 1000)
            stream.seek(size + size % 2 - len(body), 1)
    seconds = np.array(durations)
    return np.where(seconds < SHORTEST, STANDARD, seconds) if durations else None


class WebpDecoder:
    """Frames of an animated WebP by number; the counterpart of FrameDecoder, holding one batch."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.damaged: set[int] = set()
        self._start, self._frames = 0, ()

    def __enter__(self) -> "WebpDecoder":
        return self

    def __exit__(self, *_: object) -> None:
        self._frames = ()

    def get(self, number: int) -> av.VideoFrame:
        """Frame ``number``; transparency is dropped. Raises MediaError: it does not decode, or OpenCV is too
        old."""
        if not self._start <= number < self._start + len(self._frames):
            batch = max(1, min(BATCH, BUDGET // (4 * self.info.width * self.info.height)))
            self._start = number // batch * batch
            self._frames = self._read(self._start, min(batch, self.info.frame_count - self._start))
        if number - self._start >= len(self._frames):
            raise MediaError(
                f"{self.info.path} cannot be decoded from frame {number} on; save the animation again."
            )
        return av.VideoFrame.from_ndarray(
            cv2.cvtColor(self._frames[number - self._start], cv2.COLOR_BGRA2RGB), format="rgb24"
        )

    def _read(self, start: int, count: int) -> tuple[np.ndarray, ...]:
        if not hasattr(cv2, "imreadanimation"):
            raise MediaError(
                f"{self.info.path} is an animated WebP, which needs OpenCV 4.11 or later; update it or "
                "save the clip as MP4."
            )
        try:
            found, animation = cv2.imreadanimation(str(self.info.path), start, count)
        except cv2.error as error:
            raise MediaError(
                f"{self.info.path} cannot be decoded as an animated WebP; save the animation again."
            ) from error
        return tuple(animation.frames) if found else ()
