"""Small clips made on the spot by PyAV: every frame carries its own number as a bright square, so that it can
be read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

CELL = 8  # pixels of one square of the number pattern
BITS = 8


def numbered_frame(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """(H, W, 3) uint8: the bits of ``number`` as grey squares along the top, a gradient below, red at the
    left edge."""
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = (np.linspace(60, 200, height)[:, None, None] + np.array([0, 10, -20])).astype(np.uint8)
    for bit in range(BITS):
        frame[:CELL, bit * CELL : (bit + 1) * CELL] = 230 if number >> bit & 1 else 20
    frame[CELL:, :CELL] = (220, 30, 30)
    return frame


def number_of(frame: np.ndarray) -> int:
    """The number that :func:`numbered_frame` drew."""
    centre = CELL // 2
    return sum(1 << bit for bit in range(BITS) if frame[centre, bit * CELL + centre].mean() > 125)


@pytest.fixture
def numbered() -> Callable[..., np.ndarray]:
    return numbered_frame


@pytest.fixture
def read_number() -> Callable[[np.ndarray], int]:
    return number_of


@pytest.fixture
def make_clip(tmp_path: Path) -> Callable[..., Path]:
    """``make_clip(name, count, rate)`` writes a numbered clip and returns its path.

    pts: time stamps of the frames in ticks of 1/1000 s, for variable rates.  tone: (sample rate, channels,
    seconds, start in seconds) of a sound track.
    """

    def make(
        name: str = "clip.mp4",
        count: int = 12,
        rate: Fraction | int = 25,
        *,
        size: tuple[int, int] = (96, 64),
        codec: str = "libx264",
        pixel_format: str = "yuv420p",
        options: dict[str, str] | None = None,
        pts: Iterable[int] | None = None,
        first: int = 0,
        tone: tuple[int, int, float, float] | None = None,
        container_options: dict[str, str] | None = None,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w", options=container_options or {}) as container:
            video = container.add_stream(
                codec, rate=Fraction(rate), options={"threads": "1", **(options or {})}
            )
            video.width, video.height = size
            video.pix_fmt = pixel_format
            time_base = Fraction(1, 1000) if pts is not None else 1 / Fraction(rate)
            video.codec_context.time_base = video.time_base = time_base
            times = list(pts) if pts is not None else [first + i for i in range(count)]
            sound = None
            if tone is not None:
                sound = container.add_stream(
                    "pcm_s16le" if path.suffix in (".mov", ".mkv", ".avi") else "aac", rate=tone[0]
                )
                sound.codec_context.layout = {1: "mono", 2: "stereo", 6: "5.1"}[tone[1]]
            for number, time in enumerate(times):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number, *size), format="rgb24")
                frame.pts, frame.time_base = time, time_base
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if sound is not None:
                container.mux(list(_tone_packets(sound, *tone)))
        return path

    return make


def _tone_packets(stream: av.AudioStream, rate: int, channels: int, seconds: float, start: float):
    wave = (np.sin(np.arange(int(seconds * rate)) * 2 * np.pi * 440 / rate) * 8000).astype(np.int16)
    packed = stream.codec_context.name.startswith("pcm")
    for begin in range(0, len(wave), 1024):
        block = np.repeat(wave[None, begin : begin + 1024], channels, axis=0)
        if packed:
            mixed = np.ascontiguousarray(block.T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(mixed, format="s16", layout=stream.codec_context.layout.name)
        else:
            data = np.ascontiguousarray(block / np.float32(32768), np.float32)
            frame = av.AudioFrame.from_ndarray(data, format="fltp", layout=stream.codec_context.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin + round(start * rate), Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


@pytest.fixture
def turn() -> Callable[[Path, int], None]:
    """``turn(path, degrees)`` rewrites the display matrix of an MP4's video track: how far players turn it
    clockwise."""

    def rewrite(path: Path, degrees: int) -> None:
        data = bytearray(path.read_bytes())
        one = 1 << 16
        a, b, c, d = {
            0: (one, 0, 0, one),
            90: (0, one, -one, 0),
            180: (-one, 0, 0, -one),
            270: (0, -one, one, 0),
        }[degrees]
        matrix = b"".join(v.to_bytes(4, "big", signed=True) for v in (a, b, 0, c, d, 0, 0, 0, 1 << 30))
        # version and flags, times, id, duration, reserved, layer, volume
        at = data.index(b"tkhd") + 4 + 4 + 20 + 16
        assert data[at : at + 4] == one.to_bytes(4, "big")
        data[at : at + 36] = matrix
        path.write_bytes(bytes(data))

    return rewrite
