from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pytest

from personatalk_core.errors import MediaError, OptionsError
from personatalk_core.media.timing import make_timeline, rate_times

RATES = [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(50), Fraction(60)]


@dataclass
class Clip:
    times: np.ndarray
    durations: np.ndarray


def steady(rate, count):
    return Clip(rate_times(Fraction(rate), count), np.full(count, float(1 / Fraction(rate))))


def varying():
    durations = np.array([0.04, 0.10, 0.02, 0.04, 0.20, 0.05])
    return Clip(np.concatenate([[0], np.cumsum(durations)[:-1]]), durations)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 3.7, 61.0])
@pytest.mark.parametrize("mode", ["cut_off", "bounce", "loop", "remap", "silence"])
def test_frame_counts_and_duration_are_exact(rate, seconds, mode):
    count = int(2 * rate)
    clip = steady(rate, count)
    line = make_timeline(clip, seconds, mode)
    covering = int(np.ceil(Fraction(seconds).limit_denominator(1000) * rate))
    expected = {"silence": count, "cut_off": min(count, covering)}.get(mode, covering)
    assert line.frame_count == expected
    assert line.duration == pytest.approx(float(expected / rate), abs=1e-9)
    assert np.allclose(line.times, rate_times(rate, expected), atol=1e-9)


def test_sound_that_ends_with_a_frame_needs_no_other():
    assert make_timeline(steady(25, 100), 1.0, "cut_off").frame_count == 25
    assert make_timeline(steady(25, 100), 16000 / 16000 + 1e-9, "loop").frame_count == 25
    assert make_timeline(steady(25, 100), 1.001, "loop").frame_count == 26


def test_bounce_shows_the_turning_frames_once():
    assert make_timeline(steady(25, 4), 0.44, "bounce").source_frame.tolist() == [
        0,
        1,
        2,
        3,
        2,
        1,
        0,
        1,
        2,
        3,
        2,
    ]


def test_loop_starts_again():
    assert make_timeline(steady(25, 4), 0.4, "loop").source_frame.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]


def test_remap_of_equal_lengths_changes_nothing():
    assert make_timeline(
        steady(Fraction(30000, 1001), 50), 50 * 1001 / 30000, "remap"
    ).source_frame.tolist() == list(range(50))


def test_remap_stretches_evenly():
    doubled = make_timeline(steady(25, 10), 0.8, "remap").source_frame
    assert doubled.tolist() == [i // 2 for i in range(20)]
    halved = make_timeline(steady(25, 10), 0.2, "remap").source_frame
    assert halved.tolist() == [1, 3, 5, 7, 9]


def test_a_varying_rate_keeps_each_frames_own_duration():
    clip = varying()
    silence = make_timeline(clip, 10.0, "silence")
    assert np.allclose(silence.times, clip.times) and np.allclose(silence.durations, clip.durations)
    assert make_timeline(clip, 0.15, "cut_off").source_frame.tolist() == [0, 1, 2]
    looped = make_timeline(clip, 0.60, "loop")
    assert looped.source_frame.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]
    assert np.allclose(np.diff(looped.times), looped.durations[:-1])
    bounced = make_timeline(clip, 0.80, "bounce")
    assert bounced.source_frame.tolist() == [0, 1, 2, 3, 4, 5, 4, 3, 2, 1]
    assert bounced.duration >= 0.80 > bounced.duration - bounced.durations[-1]


def test_a_single_frame_can_be_shown_as_long_as_the_sound():
    for mode in ("bounce", "loop", "remap"):
        line = make_timeline(steady(25, 1), 1.0, mode)
        assert line.frame_count == 25 and not line.source_frame.any()


def test_an_hour_does_not_drift():
    rate = Fraction(30000, 1001)
    line = make_timeline(steady(rate, 300), 3600.0, "bounce")
    assert line.frame_count == int(np.ceil(3600 * rate))
    assert line.times[-1] == pytest.approx(float((line.frame_count - 1) / rate), abs=1e-9)


def test_refusals():
    with pytest.raises(MediaError, match="no frames"):
        make_timeline(steady(25, 0), 1.0, "loop")
    with pytest.raises(MediaError, match="sound lasts 0"):
        make_timeline(steady(25, 4), 0.0, "cut_off")
    with pytest.raises(OptionsError, match="stretch"):
        make_timeline(steady(25, 4), 1.0, "stretch")
