import pytest
import torch

from personatalk_core.speech.calibration import LipClosing, deepen_closures


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
    slope, way = torch.tensor([0.1, 0.0, 0.05]), torch.tensor([8.0, 0.0, 4.0])
    motion = torch.rand(30, 3, generator=torch.Generator().manual_seed(0))
    out = LipClosing(slope, way / (slope @ way), low=0.0, span=0.15)(motion)
    moved = out - motion
    assert float(moved.abs().max()) > 1e-3
    assert torch.allclose(moved[:, 1], torch.zeros(30))
    assert torch.allclose(moved[:, 0], 2 * moved[:, 2], atol=1e-6)  # along ``way``
    assert torch.allclose((out @ slope) / 0.15, deepen_closures((motion @ slope) / 0.15), atol=1e-5)
