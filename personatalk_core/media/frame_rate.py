"""From measured frame starts back to the exact rate that a camera or an encoder meant.

Containers round: Matroska to milliseconds, others to 1/90000 s. A constant rate is recognised through that rounding,
so that frame k of a 30000/1001 video starts at exactly k * 1001 / 30000 s again. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

NTSC = tuple(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120))
WHOLE = (5, 6, 8, 10, 12, 15, 18, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 240)
STANDARD_RATES = NTSC + tuple(Fraction(n) for n in WHOLE) + (Fraction(25, 2),)
FALLBACK_RATE = Fraction(25)  # of a single picture that states no rate
SLACK = 1e-6  # seconds by which a float time may miss its exact value


def exact_rate(times: np.ndarray, tick: float = 0.0, hints: Iterable[Fraction | None] = ()) -> Fraction | None:
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
    near = [r for r in (*stated, *standard) if abs(float(r) / mean - 1) < 0.02]
    near += [Fraction(mean).limit_denominator(limit) for limit in (1, 100, 1001, 100_000)]
    index = np.arange(count)
    precision = np.maximum(np.abs(times) * np.finfo(np.float32).eps, SLACK)  # times may have been float32 once
    for allowed in (precision, precision + min(tick, 0.002)):
        for rate in near:
            if rate > 0 and bool((np.abs(times - index * rate.denominator / rate.numerator) <= allowed).all()):
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
