"""Checks at the borders of the types: one sentence each, naming the field, what came and what was
expected."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from .errors import ShapeError


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
            f"{name} goes from {times[k]} to {times[k + 1]} at frame {k + 1} but expected strictly "
            "rising seconds."
        )


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a number outside [low, high]. Raises ShapeError."""
    if not low <= value <= high:
        raise ShapeError(f"{name} is {value} but expected a number in [{low}, {high}].")
