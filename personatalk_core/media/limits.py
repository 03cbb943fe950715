"""How much is read at most, so that a small file cannot unfold into more than a machine holds. Nothing real
comes near."""

from __future__ import annotations

from pathlib import Path

from ..errors import MediaError

MAX_PIXELS = 8192 * 8192  # of one frame
MAX_SECONDS = 24 * 3600.0  # of picture or sound
MAX_FRAMES = 24 * 3600 * 120  # of a video, and of what is made of it: a day at 120 frames/s
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 768_000  # Hz


def check_frame_size(path: Path, width: int, height: int) -> None:
    """Refuse a frame before it is decoded. Raises MediaError."""
    if width * height > MAX_PIXELS:
        raise MediaError(
            f"{path} is {width} x {height} but at most {MAX_PIXELS} pixels a frame are read; scale it down."
        )


def check_length(what: object, seconds: float, frames: int = 0) -> None:
    """Refuse more time or more frames than are read. Raises MediaError."""
    if not seconds <= MAX_SECONDS:
        raise MediaError(
            f"{what} lasts {seconds:.0f} s but at most {MAX_SECONDS:.0f} s are read; cut it or export "
            "it again."
        )
    if frames > MAX_FRAMES:
        raise MediaError(f"{what} has {frames} frames but at most {MAX_FRAMES} are read; cut it.")


def check_sample_rate(path: Path, rate: int, channels: int, most: int) -> None:
    """Refuse sound whose header makes no sense. Raises MediaError."""
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or not 1 <= channels <= most:
        expected = f"1 to {most} channels at {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise MediaError(f"{path} has {channels} channels of sound at {rate} Hz but expected {expected}.")
