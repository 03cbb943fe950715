"""When each frame is shown: the exact rate behind measured frame starts, and the timeline of an output.

Containers round: Matroska to milliseconds, others to 1/90000 s. A constant rate is recognised through that
rounding, so that frame k of a 30000/1001 video starts at exactly k * 1001 / 30000 s again. Knows nothing of
files.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Protocol

import numpy as np
from torch import Tensor

from ..checks import check_length, check_shape
from ..config import LENGTH_MODES, LengthMode
from ..errors import MediaError, OptionsError
from ..types import Timeline

NTSC = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120))
WHOLE = (5, 6, 8, 10, 12, 15, 18, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 240)
STANDARD_RATES = NTSC + tuple(Fraction(n) for n in WHOLE) + (Fraction(25, 2),)
FALLBACK_RATE = Fraction(25)  # of a single picture that states no rate
SLACK = 1e-6  # seconds by which a float time may miss its exact value


def exact_rate(
    times: np.ndarray, tick: float = 0.0, hints: Iterable[Fraction | None] = ()
) -> Fraction | None:
    """The constant rate that explains the frame starts, or None where there is none.

    Args:
        times: (T,) seconds, increasing, the first 0.
        tick:  the container's time unit in seconds: starts may be rounded by as much.
        hints: rates that the file states, which may be rounded themselves; tried first.
    Returns:
        Frames a second, or None when the rate varies or fewer than two frames were given and no hint.
    """
    stated = [_standard(Fraction(hint)) for hint in hints if hint]
    count = len(times)
    if count < 2:
        return stated[0] if stated else None
    mean = (count - 1) / float(times[-1])
    standard = sorted(STANDARD_RATES, key=lambda rate: abs(float(rate) / mean - 1))
    candidates = [r for r in (*stated, *standard) if abs(float(r) / mean - 1) < 0.02]
    candidates += [Fraction(mean).limit_denominator(limit) for limit in (1, 100, 1001, 100_000)]
    index = np.arange(count)
    # times may have been float32 once
    precision = np.maximum(np.abs(times) * np.finfo(np.float32).eps, SLACK)
    for allowed in (precision, precision + min(tick, 0.002)):
        for rate in candidates:
            if rate > 0 and bool(
                (np.abs(times - index * rate.denominator / rate.numerator) <= allowed).all()
            ):
                return rate
    return None


def _standard(rate: Fraction) -> Fraction:
    """The standard rate that this one is a rounding of, or itself: Matroska stores nanoseconds a frame."""
    return next((standard for standard in STANDARD_RATES if abs(float(standard / rate) - 1) < 1e-6), rate)


def rate_times(rate: Fraction, count: int) -> np.ndarray:
    """(count,) float64 starts of frames at a constant rate, each rounded once only."""
    return np.arange(count, dtype=np.float64) * rate.denominator / rate.numerator


def durations_of(times: np.ndarray, last: float) -> np.ndarray:
    """(T,) seconds each frame is shown: until the next one starts; the last as given."""
    return np.append(np.diff(times), last)


class Timed(Protocol):
    """Anything with frame starts and durations: VideoInfo, FaceGeometry, Timeline."""

    @property
    def times(self) -> np.ndarray | Tensor: ...

    @property
    def durations(self) -> np.ndarray | Tensor: ...


def make_timeline(video: Timed, audio_duration: float, mode: LengthMode) -> Timeline:
    """Lay the source frames along the output.

    Args:
        video:          times (T,) and durations (T,) in seconds, the first time 0.
        audio_duration: seconds of sound, >= 0.
        mode:           as :class:`DubOptions` documents it.
    Returns:
        At least one frame. cut_off: the frames that start before the sound ends. bounce: 0 .. T-1 .. 0 .. and
        loop: 0 .. T-1, 0 .., both until the sound has ended. remap: the source's own frame rate (the mean one
        where it varies), each output frame showing what the stretched source shows in its middle. silence:
        the source's frames. A constant rate stays exact over any length.
    Raises:
        MediaError: no frames, or no sound. OptionsError: an unknown mode.
    """
    times, durations = np.asarray(video.times, np.float64), np.asarray(video.durations, np.float64)
    count = check_shape("frame times", times, "T")["T"]
    check_shape("frame durations", durations, count)
    if count == 0:
        raise MediaError("The video has no frames; pass one with at least one.")
    if mode not in LENGTH_MODES:
        raise OptionsError(f"length is '{mode}' but expected one of {', '.join(LENGTH_MODES)}.")
    if not audio_duration > 0 and mode != "silence":
        raise MediaError(
            f"The sound lasts {audio_duration} s but expected more than 0; pass a file with speech in it."
        )
    check_length("The sound", audio_duration)
    end = audio_duration - SLACK  # a frame that would start within a microsecond of the end is not needed
    if mode == "silence":
        order = np.arange(count)
    elif mode == "cut_off":
        order = np.arange(max(1, int(np.searchsorted(times, end))))[:count]
    elif mode == "remap":
        return _remapped(times, durations, end)
    else:
        cycle = np.arange(count)
        if mode == "bounce":
            cycle = np.concatenate([cycle, cycle[-2:0:-1]])  # the turning frames are shown once
        starts = np.concatenate([[0.0], np.cumsum(durations[cycle])])
        rounds, rest = divmod(end, starts[-1])
        check_length("The output", end, int(rounds + 1) * len(cycle))
        order = np.concatenate([np.tile(cycle, int(rounds)), cycle[: int(np.searchsorted(starts, rest))]])
        order = order if len(order) else cycle[:1]
    return _timeline(order.astype(np.int64), times, durations)


def _timeline(order: np.ndarray, times: np.ndarray, durations: np.ndarray) -> Timeline:
    rate = _constant_rate(times, durations)
    if rate is not None:
        return Timeline(order, rate_times(rate, len(order)), np.full(len(order), float(1 / rate)))
    ordered = durations[order]
    return Timeline(order, np.concatenate([[0.0], np.cumsum(ordered)[:-1]]), ordered)


def _remapped(times: np.ndarray, durations: np.ndarray, end: float) -> Timeline:
    rate = _constant_rate(times, durations)
    source_duration = times[-1] + durations[-1]
    step = float(1 / rate) if rate is not None else source_duration / len(times)
    count = max(1, int(np.ceil(end / step)))
    check_length("The output", end, count)
    starts = rate_times(rate, count) if rate is not None else np.arange(count) * step
    middle = (starts + step / 2) * (source_duration / (count * step))  # in the source's time
    order = (np.searchsorted(times, middle + SLACK, side="right") - 1).clip(0, len(times) - 1)
    return Timeline(order.astype(np.int64), starts, np.full(count, step))


def _constant_rate(times: np.ndarray, durations: np.ndarray) -> Fraction | None:
    """The rate of the frames, the last one's duration included; None where it varies."""
    rate = exact_rate(times, hints=[] if len(times) > 1 else [_rate_of_one(durations)])
    tolerance = SLACK + np.finfo(np.float32).eps * float(durations[-1])
    if rate is None or abs(float(durations[-1]) * float(rate) - 1) * float(1 / rate) > tolerance:
        return None
    return rate


def _rate_of_one(durations: np.ndarray) -> Fraction | None:
    return Fraction(1 / float(durations[0])).limit_denominator(1001) if durations[0] > 0 else None
