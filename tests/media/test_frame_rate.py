from fractions import Fraction

import numpy as np
import pytest

from personatalk_core.media.timing import exact_rate, rate_times

NTSC = [Fraction(n * 1000, 1001) for n in (24, 30, 60)]
RATES = [*NTSC, Fraction(24), Fraction(25), Fraction(30), Fraction(50), Fraction(60)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("count", [2, 3, 25, 5000])
def test_a_constant_rate_is_found_in_exact_times(rate, count):
    assert exact_rate(rate_times(rate, count)) == rate


@pytest.mark.parametrize("rate", RATES)
def test_a_constant_rate_is_found_through_milliseconds(rate):
    times = np.round(rate_times(rate, 3000) * 1000) / 1000
    assert exact_rate(times, tick=0.001) == rate


@pytest.mark.parametrize("rate", RATES)
def test_a_stated_rate_decides_where_few_rounded_frames_cannot(rate):
    times = np.round(rate_times(rate, 12) * 1000) / 1000
    nanoseconds = Fraction(10**9, round(10**9 / rate))
    assert exact_rate(times, tick=0.001, hints=[nanoseconds]) == rate


def test_single_precision_times_keep_their_rate():
    rate = Fraction(30000, 1001)
    assert exact_rate(rate_times(rate, 20000).astype(np.float32).astype(np.float64)) == rate


def test_a_varying_rate_is_not_called_constant():
    times = np.cumsum([0.0, 0.04, 0.04, 0.08, 0.02, 0.04])
    assert exact_rate(times, tick=0.001) is None


def test_one_dropped_frame_is_seen():
    times = np.delete(rate_times(Fraction(25), 1000), 500)
    assert exact_rate(times, tick=1 / 90000) is None


def test_odd_rates_are_found_too():
    assert exact_rate(rate_times(Fraction(1847, 100), 200)) == Fraction(1847, 100)
