"""Video files out, frame by frame, whole or not at all, in one go. Long ones are made of segments by ``video_segments.py``.

H.264 yuv420p and AAC in a form that browsers play, or RGB and sound without loss. The same frames give the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from ..checks import check_shape
from ..errors import MediaError
from ..types import AudioClip, Timeline, VideoInfo
from .output_file import OutputFile, reraise
from .picture_coding import format_of, picture_coding
from .sound_stream import SoundFile


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
        audio: AudioClip | SoundFile | None = None,
        *,
        lossless: bool = False,
        metadata: dict[str, str] | None = None,
        like: VideoInfo | None = None,
    ) -> None:
        self.path = Path(path)
        self.width, self.height = width, height
        self._coding = picture_coding(format_of(self.path), width, height, timeline, lossless=lossless, like=like)
        self._file = OutputFile(self.path, self._coding, audio, metadata)
        self._done = 0

    def __enter__(self) -> "VideoWriter":
        try:
            self._file.open()
        except BaseException as error:
            self._file.discard()
            reraise(error, self.path)
        return self

    def write(self, frame: np.ndarray) -> None:
        """Write the next frame, (height, width, 3) uint8 RGB."""
        if self._done >= self._coding.frame_count:
            raise MediaError(f"A frame too many for {self.path}: its timeline has {self._coding.frame_count}.")
        picture = self._coding.picture(frame, self._done)
        try:
            self._done += 1
            for packet in self._file.stream.encode(picture):
                self._file.mux(packet)
            self._file.write_sound_until(self._coding.pts[self._done])
        except (av.error.FFmpegError, OSError) as error:
            reraise(error, self.path)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is None:
                if self._done != self._coding.frame_count:
                    raise MediaError(f"{self.path} was given {self._done} frames but its timeline has {self._coding.frame_count}.")
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

    def write(self, mask: np.ndarray) -> None:
        """Write the next mask, (height, width) float in [0, 1] or uint8."""
        check_shape("mask", mask, self.height, self.width)
        grey = mask if mask.dtype == np.uint8 else (np.asarray(mask).clip(0, 1) * 255 + 0.5).astype(np.uint8)
        super().write(np.repeat(grey[..., None], 3, axis=2))
