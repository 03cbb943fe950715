"""Closures and silences: made-up mouths with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from personatalk_core.config import SAMPLE_RATE, DubOptions
from personatalk_core.dubbing.run import Run
from personatalk_core.evaluation.metrics.lip_closure import hama_recogniser, phoneme_times
from personatalk_core.evaluation.studies.closure_accuracy import (
    closure_accuracy,
    count_closures,
    motion_energy,
    muted,
    pauses,
    report,
    settled,
    sound_dips,
)
from personatalk_core.evaluation.studies.talking_clips import TalkingClip, spoken_by
from personatalk_core.media.audio_stream import read_audio, speech_samples
from personatalk_core.media.video_reader import probe
from personatalk_core.models import load_models
from personatalk_core.pipeline import estimate_geometry
from personatalk_core.samples.demo import DEMO_SPEECH

REAL = torch.full((60,), 5.0)
REAL[[5, 6, 20, 40, 41]] = 0.0


def test_only_closures_at_the_sounds_count():
    missed = REAL.clone()
    missed[20] = 5.0
    assert count_closures(REAL, REAL, None) == (3, 3)
    assert count_closures(missed, REAL, None) == (2, 3)
    assert count_closures(missed, REAL, [22]) == (0, 1)  # the recogniser may be late by three frames
    assert count_closures(missed, REAL, [5, 30, 41]) == (2, 2)  # at 30 the real lips do not meet
    assert count_closures(REAL.roll(3), REAL, None) == (0, 3)


def test_dips_lie_between_loud_moments():
    level = np.ones(40)
    level[[10, 25]] = 0.01
    level[30:] = 0.01  # the end of the sound is no dip
    samples = np.random.default_rng(0).normal(0, 0.1, 40 * 640) * np.repeat(level, 640)
    assert sound_dips(samples.astype(np.float32), 40) == [10, 25]


def test_the_muted_middle_is_marked():
    samples, frames = muted(np.ones(100 * 640, np.float32), 1.5)
    assert int(frames.sum()) == 37 and len(frames) == 100
    assert (samples.reshape(100, 640).max(1) == 0).tolist() == frames.tolist()
    assert int(muted(np.ones(20 * 640, np.float32))[1].sum()) == 10  # at most half


def test_a_pause_is_found_above_a_noisy_floor_and_at_the_edges():
    rng = np.random.default_rng(0)
    level = np.full(100, 0.3)
    level[:12] = level[40:55] = level[90:] = 0.0
    level[70:74] = 0.0  # too short
    clean = rng.normal(0, 1, 100 * 640) * np.repeat(level, 640)
    wanted = np.isin(np.arange(100), [*range(12), *range(40, 55), *range(90, 100)])
    for noise in (0.0, 0.02):  # the second lies 24 dB below the speech
        found = pauses((clean + rng.normal(0, noise, len(clean))).astype(np.float32), 100)
        assert found.tolist() == wanted.tolist()
    assert not pauses(
        (clean + rng.normal(0, 0.1, len(clean))).astype(np.float32), 100
    ).any()  # so loud that nothing is known


def test_a_mouth_may_settle_before_it_must_rest():
    silent = torch.zeros(40, dtype=torch.bool)
    silent[10:30] = True
    assert settled(silent).nonzero()[:, 0].tolist() == list(range(15, 28))
    assert not settled(torch.arange(40) % 10 < 6).any()


def test_motion_energy_is_that_of_the_frames():
    lips = torch.zeros(10, 3, 3)
    lips[5:, :, 0] = 2.0
    where = torch.zeros(10, dtype=torch.bool)
    where[3:7] = True
    assert motion_energy(lips, where) == pytest.approx(4 / 3)
    assert motion_energy(lips, ~where) == 0.0
    assert math.isnan(motion_energy(lips, torch.zeros(10, dtype=torch.bool)))


def test_labels_become_times_once_and_pieces_overlap_without_doubling():
    def recognise(samples: np.ndarray) -> list[str]:  # a step of 20 ms is 'b' where it is loud
        return [
            "b" if x > 0.5 else "_"
            for x in np.abs(samples[: len(samples) // 320 * 320]).reshape(-1, 320).max(1)
        ]

    samples = np.zeros(50 * SAMPLE_RATE, np.float32)
    wanted = [0.5, 18.5, 19.5, 36.5, 47.0]
    for second in wanted:
        samples[int(second * SAMPLE_RATE) : int(second * SAMPLE_RATE) + 960] = 1.0
    assert phoneme_times(samples, recognise) == pytest.approx(wanted, abs=0.021)
    assert phoneme_times(samples, recognise, frozenset("m")) == []


def test_the_recogniser_hears_lips_meet_in_the_demo_line():
    pytest.importorskip("hama", reason="the phoneme recogniser is not installed")
    samples = speech_samples(read_audio(DEMO_SPEECH))
    recognise = hama_recogniser()
    found = phoneme_times(samples, recognise)
    assert 1 <= len(found) <= 40 and found == sorted(found)
    late = np.concatenate([np.zeros(8_000, np.float32), samples])
    moved = phoneme_times(late, recognise)
    near = [min(abs(t + 0.5 - m) for m in moved) for t in found]
    assert np.median(near) < 0.05  # half a second later, the same sounds


def test_a_mouth_compared_with_itself_misses_nothing(sample_video):
    models = load_models(DubOptions(), parts=("speech",))
    samples = speech_samples(read_audio(DEMO_SPEECH))
    geometry = estimate_geometry(probe(sample_video), Run(models))
    truth = spoken_by(geometry, samples, models)
    clip = TalkingClip("a", truth, samples, 0.0)
    row = closure_accuracy([clip], models, None)["a"]
    # its style is read from its own output, so not quite itself
    assert row["all_hits"] / max(row["all_cases"], 1) > 0.7
    assert row["muted_opening"] < float(np.median(row["rest_real"])) + 0.05
    assert "wherever the real lips close" in report({"a": row})
