"""Accuracy of predicted mouths: lags are applied the right way round and found, a perfect output scores
perfectly, tables average."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.config import DubOptions
from personatalk_core.dubbing.run import Run
from personatalk_core.evaluation.metrics.landmark_distance import mouth_correlation
from personatalk_core.evaluation.studies.sound_disturbances import DISTURBANCES, disturb
from personatalk_core.evaluation.studies.speech_accuracy import (
    best_lag,
    mean_mouth,
    means,
    score,
    speech_accuracy,
    table,
)
from personatalk_core.evaluation.studies.talking_clips import TalkingClip, delayed, spoken_by
from personatalk_core.media.audio_stream import read_audio, speech_samples
from personatalk_core.media.video_reader import probe
from personatalk_core.models import load_models
from personatalk_core.pipeline import estimate_geometry
from personatalk_core.samples.demo import DEMO_SPEECH


@pytest.fixture(scope="module")
def models():
    return load_models(DubOptions(), parts=("speech",))


@pytest.fixture(scope="module")
def geometry(models, sample_video):
    return estimate_geometry(probe(sample_video), Run(models))


@pytest.fixture(scope="module")
def samples():
    return speech_samples(read_audio(DEMO_SPEECH))


def test_a_positive_lag_moves_sound_later():
    samples = np.zeros(6400, np.float32)
    samples[640] = 1
    assert delayed(samples, 2).argmax() == 3 * 640
    assert delayed(samples, -1).argmax() == 0
    assert len(delayed(samples, 0.5)) == 6400 and delayed(samples, 0.5).argmax() == 960


def test_the_mouth_follows_its_own_sound_and_not_its_delay(models, geometry, samples):
    truth = spoken_by(geometry, samples, models)
    same = mouth_correlation(spoken_by(geometry, samples * 0.7, models), truth, models.face_model)
    late = mouth_correlation(spoken_by(geometry, delayed(samples, 8), models), truth, models.face_model)
    assert same["opening_r"] > 0.95 > 0.6 > late["opening_r"]


def test_the_truth_scores_perfectly_and_a_still_mouth_does_not(models, geometry, samples):
    truth = spoken_by(geometry, samples, models)
    perfect, still = score(truth, truth, models), score(mean_mouth(truth, models), truth, models)
    assert perfect["opening_r"] == pytest.approx(1.0, abs=1e-5) and perfect["lmd"] == pytest.approx(
        0.0, abs=1e-6
    )
    assert perfect["best_lag"] == 0 and perfect["opening_gain"] == pytest.approx(1.0)
    assert still["opening_r"] == 0 and still["lmd"] > 0.3 and math.isnan(still["best_lag"])


def test_a_late_output_says_how_late():
    series = torch.from_numpy(np.convolve(np.random.default_rng(0).normal(0, 1, 90), np.hanning(7), "same"))
    assert [best_lag(series.roll(k), series) for k in (-2, 0, 3)] == [-2, 0, 3]


def test_every_row_is_scored_and_the_table_averages(models, geometry, samples):
    truth = spoken_by(geometry, samples, models)
    clips = [
        TalkingClip("a", truth, delayed(samples, 3), -3.0),
        TalkingClip("b", truth, samples[::-1].copy(), 0.0),
    ]
    rows = speech_accuracy(clips, models, decibels=10)
    assert set(rows) >= {
        "ours, lag stated",
        "the clip's own mean mouth",
        "ours, another clip's sound",
        "ours, lag stated, babble at 10 dB",
    }
    assert rows["ours, lag stated"]["a"]["opening_r"] > 0.9  # its own words, the stated lag taken back
    text = table(rows)
    expected = np.mean([row["opening_r"] for row in rows["ours, lag stated"].values()])
    assert f"| ours, lag stated | {expected:.3f} |" in text
    assert means({"x": {"r": 1.0}, "y": {"r": float("nan")}}) == {"r": 1.0}


def test_a_found_lag_is_used_before_a_stated_one(models, geometry, samples):
    clip = TalkingClip("a", geometry, samples, 2.0)
    assert clip.lag == 2.0 and replace(clip, found=-0.5).lag == -0.5
    assert np.array_equal(replace(clip, found=-0.5).heard, delayed(samples, -0.5))


@pytest.mark.parametrize("kind", DISTURBANCES)
def test_disturbances_are_as_loud_as_stated(kind):
    rng = np.random.default_rng(3)
    samples, others = rng.normal(0, 0.1, 32_000).astype(np.float32), [rng.normal(0, 0.3, 9_000)]
    noise = disturb(samples, kind, 10, others) - samples
    assert 10 * np.log10((samples**2).mean() / (noise**2).mean()) == pytest.approx(10, abs=0.1)
    assert np.array_equal(disturb(samples, kind, 10, others), disturb(samples, kind, 10, others))
