"""Checks at the borders of the types: one sentence each, naming the field, what came and what was
expected."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from .errors import MediaError, ShapeError

# How much of a file is read at most, so that a small one cannot unfold into more than a machine holds.
# Nothing real comes near.
MAX_PIXELS = 8192 * 8192  # of one frame
MAX_SECONDS = 24 * 3600.0  # of picture or sound
MAX_FRAMES = 24 * 3600 * 120  # of a video, and of what is made of it: a day at 120 frames/s
MIN_SAMPLE_RATE, MAX_SAMPLE_RATE = 1000, 768_000  # Hz


class Shaped(Protocol):
    """A tensor, an ndarray, or rows on disk."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_shape(name: str, array: Shaped, *expected: int | str) -> dict[str, int]:
    """Refuse an array whose shape is not the expected one.

    Args:
        name:     field name used in the message.
        array:    tensor, ndarray or rows on disk.
        expected: one entry an axis: an int is exact, a str is an axis name; the same name twice must
            have the same length.
    Returns:
        The length of each named axis.
    Raises:
        ShapeError: the number of axes or a length differs.
    """
    shape = tuple(array.shape)
    pattern = "(" + ", ".join(str(e) for e in expected) + ("," if len(expected) == 1 else "") + ")"
    if len(shape) != len(expected):
        raise ShapeError(f"{name} has shape {shape} but expected {pattern}.")
    axes: dict[str, int] = {}
    for length, axis in zip(shape, expected, strict=True):
        if length != (axes.setdefault(axis, length) if isinstance(axis, str) else axis):
            raise ShapeError(f"{name} has shape {shape} but expected {pattern}.")
    return axes


def check_finite(name: str, array: torch.Tensor | np.ndarray) -> None:
    """Refuse NaN and infinity. Raises ShapeError with the count and the first position."""
    finite = (
        torch.isfinite(array)
        if isinstance(array, torch.Tensor)
        else torch.from_numpy(np.asarray(np.isfinite(array)))
    )
    if not bool(finite.all()):
        bad = (~finite).nonzero()
        raise ShapeError(
            f"{name} has {len(bad)} non-finite values, the first at {tuple(bad[0].tolist())}; expected "
            "finite numbers."
        )


def check_rising(name: str, times: np.ndarray) -> None:
    """Refuse times (T,) that are not strictly rising, with no frame at all counting as wrong too. Raises
    ShapeError."""
    if len(times) == 0:
        raise ShapeError(f"{name} is empty but expected at least one frame.")
    falls = np.flatnonzero(~(np.diff(times) > 0))
    if len(falls):
        k = int(falls[0])
        raise ShapeError(
            f"{name} goes from {times[k]} to {times[k + 1]} at frame {k + 1} but expected strictly rising "
            "seconds."
        )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high]. Raises ShapeError."""
    if not low <= value <= high:
        raise ShapeError(f"{name} is {value} but expected a number in [{low}, {high}].")


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
            f"{what} lasts {seconds:.0f} s but at most {MAX_SECONDS:.0f} s are read; cut it or export it "
            "again."
        )
    if frames > MAX_FRAMES:
        raise MediaError(f"{what} has {frames} frames but at most {MAX_FRAMES} are read; cut it.")


def check_sample_rate(path: Path, rate: int, channels: int, most: int) -> None:
    """Refuse sound whose header makes no sense. Raises MediaError."""
    if not MIN_SAMPLE_RATE <= rate <= MAX_SAMPLE_RATE or not 1 <= channels <= most:
        expected = f"1 to {most} channels at {MIN_SAMPLE_RATE} to {MAX_SAMPLE_RATE} Hz"
        raise MediaError(f"{path} has {channels} channels of sound at {rate} Hz but expected {expected}.")
