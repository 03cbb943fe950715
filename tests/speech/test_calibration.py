"""A style gets the mean and spread it asks for, and lips that all but meet do."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.config import DubOptions
from personatalk_core.models import load_models
from personatalk_core.speech.calibration import Correction, LipClosing, StyleCalibration, deepen_closures
from personatalk_core.speech.lip_sync import SpeechWindows, predict_expression
from personatalk_core.speech.style import style_vector

E, D = 3, 2


def speaker(audio, styles, templates):
    """Says everything with mean 1 and spread 2 in the first coefficient, whatever the style."""
    wave = torch.tensor([-1.0, 1.0]).repeat(audio.shape[1] // 2) * 2 + 1
    return torch.stack((wave, wave * 0, wave * 0.1), -1).expand(len(audio), -1, -1)


@pytest.fixture
def calibration() -> StyleCalibration:
    made = StyleCalibration(D, E, windows=2, frames=40)
    # the style's first value is the mean, its second the spread, of one coefficient
    made.weight[0, 0], made.weight[1, E] = (
        1.0,
        1.0,
    )
    made.opening[0], made.way[0] = 1.0, 1.0
    return made


def test_motion_gets_the_mean_and_some_of_the_spread_asked_for(calibration):
    spoken = speaker(torch.zeros(1, 40, D), None, None)[0]
    correction, _ = calibration(calibration.compare(speaker, torch.tensor([5.0, 2.0]), torch.zeros(4, 3)))
    assert float(correction(spoken)[:, 0].mean()) == pytest.approx(5.0, abs=1e-4)
    assert float(correction(spoken)[:, 0].std(correction=0)) == pytest.approx(2.0, abs=1e-3)
    lively, _ = calibration(calibration.compare(speaker, torch.tensor([5.0, 3.0]), torch.zeros(4, 3)))
    assert 2.2 < float(lively(spoken)[:, 0].std(correction=0)) < 3.0
    # rest stays
    assert float(lively(spoken)[:, 0].min()) == pytest.approx(float(correction(spoken)[:, 0].min()), abs=1e-4)


def test_a_style_like_the_usual_one_changes_nothing(calibration):
    style, face = torch.tensor([5.0, 3.0]), torch.zeros(4, 3)
    found = calibration.compare(speaker, style, face)
    calibration.usual_ratio.copy_(found.ratio)
    calibration.usual_shift.copy_(found.shift)
    spoken = speaker(torch.zeros(1, 40, D), None, None)[0]
    assert torch.allclose(
        calibration(calibration.compare(speaker, style, face))[0](spoken), spoken, atol=1e-5
    )


def test_a_gain_keeps_the_closed_mouth_where_it_is():
    correction = Correction(torch.tensor([-1.0, 0.0, 0.0]), torch.zeros(3), torch.full((3,), 1.3))
    assert torch.equal(correction(torch.tensor([[-1.0, 0.0, 0.0]])), torch.tensor([[-1.0, 0.0, 0.0]]))


def test_bundled_networks_do_not_depend_on_windows():
    models = load_models(DubOptions(), parts=("speech",))
    networks = models.speech
    assert networks.lip_sync.calibration is not None
    samples = torch.randn(60 * 640, generator=torch.Generator().manual_seed(0)) * 0.1
    face = torch.zeros(networks.lip_sync.config.vertices, 3)
    whole, cut = (
        predict_expression(samples, 60, style_vector(None, networks), face, networks, SpeechWindows(n))
        for n in (500, 17)
    )
    assert torch.allclose(whole, cut, atol=1e-3)


def test_an_open_mouth_is_left_alone():
    wide = torch.full((20,), 0.9)
    assert torch.allclose(deepen_closures(wide), wide, atol=1e-3)


def test_a_nearly_closed_mouth_closes_further_but_never_through_itself():
    nearly = torch.full((20,), 0.1)
    assert float(deepen_closures(nearly).max()) < 0.085
    assert torch.equal(deepen_closures(torch.zeros(20)), torch.zeros(20))
    rising = torch.linspace(0, 1, 200)
    assert bool((deepen_closures(rising)[3:-3].diff() > 0).all())  # what was more open still is


def test_dips_deepen_and_peaks_stay():
    series = torch.full((41,), 0.6)
    series[20], series[30] = 0.3, 0.9
    out = deepen_closures(series)
    assert float(out[20]) < 0.24
    assert float(out[30]) == pytest.approx(0.9, abs=1e-3)
    assert torch.equal(out[:15], deepen_closures(series[:20])[:15])  # two frames to either side, nothing else


def test_only_the_opening_changes():
    slope, direction = torch.tensor([0.1, 0.0, 0.05]), torch.tensor([8.0, 0.0, 4.0])
    motion = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    out = LipClosing(slope, direction / (slope @ direction), low=0.0, span=0.15)(motion)
    moved = out - motion
    assert float(moved.abs().max()) > 1e-3
    assert torch.allclose(moved[:, 1], torch.zeros(30))
    assert torch.allclose(moved[:, 0], 2 * moved[:, 2], atol=1e-6)  # along the direction
    assert torch.allclose((out @ slope) / 0.15, deepen_closures((motion @ slope) / 0.15), atol=1e-5)
