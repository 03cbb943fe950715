from __future__ import annotations

import math

import pytest
import torch

from personatalk_core.evaluation.metrics.lip_closure import (
    closure_rate,
    closures,
    silence_score,
    silent_frames,
)

OPEN = torch.tensor([5.0, 5, 5, 0, 0, 5, 5, 5, 5, 0, 5, 5, 5, 5, 5, 0, 0, 0, 5, 5])


def test_runs_of_closed_lips():
    assert closures(OPEN, 1.0) == [(3, 5), (9, 10), (15, 18)]


def test_closure_rate_counts_missed_closures():
    missed = OPEN.clone()
    missed[9] = 5.0
    assert closure_rate(OPEN, OPEN) == 1.0
    assert closure_rate(missed, OPEN) == pytest.approx(2 / 3)
    assert closure_rate(torch.roll(OPEN, 1), OPEN) == 1.0  # a frame late is forgiven
    assert closure_rate(torch.roll(OPEN, 3), OPEN) < 1.0


def test_known_phoneme_times_select_the_closures_that_count():
    missed = OPEN.clone()
    missed[9] = 5.0
    assert closure_rate(missed, OPEN, events=[4, 16]) == 1.0
    assert closure_rate(missed, OPEN, events=[9, 12]) == 0.0  # at 12 the real speaker does not close either
    assert math.isnan(closure_rate(missed, OPEN, events=[12]))


def test_silence_is_found_where_nothing_is_said():
    samples = 0.3 * torch.randn(50 * 640, generator=torch.Generator().manual_seed(0))
    samples[20 * 640 : 32 * 640] *= 1e-4
    samples[40 * 640 : 44 * 640] *= 1e-4  # too short
    silent = silent_frames(samples, 60)
    assert silent[20:32].all() and not silent[:20].any() and not silent[32:50].any()
    assert silent[50:].all()  # after the end of the sound


def test_silence_score_is_one_for_the_person_and_grows_with_motion():
    real = 0.01 * torch.randn(20, 6, 3, generator=torch.Generator().manual_seed(0))
    silent = torch.zeros(20, dtype=torch.bool)
    silent[5:15] = True
    lips = torch.arange(4)
    assert silence_score(real, real, silent, lips) == pytest.approx(1.0)
    assert silence_score(2 * real, real, silent, lips) == pytest.approx(4.0, rel=1e-3)
    restless = real.clone()
    restless[:5] *= 10  # before the silence it may move
    assert silence_score(restless, real, silent, lips) == pytest.approx(1.0)
