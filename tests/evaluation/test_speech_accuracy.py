"""Accuracy of predicted mouths: lags are applied the right way round, and the table averages."""

from __future__ import annotations

import numpy as np

from personatalk_core.config import DubOptions
from personatalk_core.demo import DEMO_SPEECH
from personatalk_core.evaluation.mouth_correlation import mouth_correlation
from personatalk_core.evaluation.speech_accuracy import delayed, spoken_by, table
from personatalk_core.media.audio import read_audio, speech_samples
from personatalk_core.media.video_reader import probe
from personatalk_core.models import load_models
from personatalk_core.pipeline import geometry_of_video
from personatalk_core.progress import Stages


def test_a_positive_lag_moves_sound_later():
    samples = np.zeros(6400, np.float32)
    samples[640] = 1
    assert delayed(samples, 2).argmax() == 3 * 640
    assert delayed(samples, -1).argmax() == 0
    assert len(delayed(samples, 0.5)) == 6400 and delayed(samples, 0.5).argmax() == 960


def test_the_mouth_follows_its_own_sound_and_not_its_delay(sample_video):
    models = load_models(DubOptions(), parts=("speech",))
    geometry = geometry_of_video(probe(sample_video), models, DubOptions(), Stages())
    samples = speech_samples(read_audio(DEMO_SPEECH))
    truth = spoken_by(geometry, samples, models)
    same = mouth_correlation(spoken_by(geometry, samples * 0.7, models), truth, models.face_model)
    late = mouth_correlation(spoken_by(geometry, delayed(samples, 8), models), truth, models.face_model)
    assert same["opening_r"] > 0.95 > 0.6 > late["opening_r"]


def test_the_table_ends_with_the_mean():
    text = table({"a": {"opening_r": 0.5}, "b": {"opening_r": 0.7}})
    assert text.splitlines()[-1] == "| **mean** | 0.600 |"
