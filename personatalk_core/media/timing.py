"""Which source frame is shown when, for each of the five ways to settle a difference between picture and sound."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..checks import check_shape
from ..config import LENGTH_MODES, LengthMode
from ..errors import MediaError, OptionsError
from ..types import Timeline
from .frame_rate import SLACK, exact_rate, rate_times
from .limits import check_length


class Timed(Protocol):
    """Anything with frame starts and durations: VideoInfo, FaceGeometry, Timeline."""

    times: np.ndarray
    durations: np.ndarray


def make_timeline(video: Timed, audio_duration: float, mode: LengthMode) -> Timeline:
    """Lay the source frames along the output.

    Args:
        video:          times (T,) and durations (T,) in seconds, the first time 0.
        audio_duration: seconds of sound, >= 0.
        mode:           as :class:`DubOptions` documents it.
    Returns:
        At least one frame. cut_off: the frames that start before the sound ends. bounce: 0 .. T-1 .. 0 .. and loop:
        0 .. T-1, 0 .., both until the sound has ended. remap: the source's own frame rate (the mean one where it
        varies), each output frame showing what the stretched source shows in its middle. silence: the source's frames.
        A constant rate stays exact over any length.
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
        raise MediaError(f"The sound lasts {audio_duration} s but expected more than 0; pass a file with speech in it.")
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
    shown = durations[order]
    return Timeline(order, np.concatenate([[0.0], np.cumsum(shown)[:-1]]), shown)


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


def _constant_rate(times: np.ndarray, durations: np.ndarray):
    rate = exact_rate(times, hints=[] if len(times) > 1 else [_rate_of_one(durations)])
    tolerance = SLACK + np.finfo(np.float32).eps * float(durations[-1])
    return rate if rate is not None and abs(float(durations[-1]) * float(rate) - 1) * float(1 / rate) <= tolerance else None


def _rate_of_one(durations: np.ndarray):
    from fractions import Fraction

    return Fraction(1 / float(durations[0])).limit_denominator(1001) if durations[0] > 0 else None
