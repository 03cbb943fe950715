from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from personatalk_core.errors import WeightsError
from personatalk_core.evaluation.judges.networks import load_judges
from personatalk_core.evaluation.judges.syncnet import SyncNet, load_syncnet, mfcc, sync_score


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random parameters under the published names, with the unused third head that the published file has."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("judges") / "syncnet.safetensors"
    save_file(SyncNet().state_dict() | {"netfcspk.0.weight": torch.zeros(3)}, path)
    return path


def test_the_published_layout_loads_and_scores(weights):
    network = load_judges(weights.parent).syncnet
    crops = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = sync_score(network, crops, torch.randn(16000, generator=torch.Generator().manual_seed(0)))
    assert found["sync_score"] >= 0 and abs(found["sync_offset"]) <= 15


def test_other_parameters_are_refused(weights, tmp_path):
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "syncnet.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        load_syncnet(tmp_path / "syncnet.safetensors")
    with pytest.raises(WeightsError, match="not a folder"):
        load_judges(tmp_path / "nowhere")


def test_cepstra_have_a_hundred_frames_a_second_and_the_first_is_log_energy():
    samples = 0.1 * torch.sin(torch.arange(16000) * 0.3)
    found = mfcc(samples)
    assert found.shape == (13, 99)
    frame = 32768 * np.append(0.0, samples[1:400].double().numpy() - 0.97 * samples[:399].double().numpy())
    energy = (np.abs(np.fft.rfft(frame, 512)) ** 2 / 512).sum()
    assert float(found[0, 0]) == pytest.approx(np.log(energy), abs=0.01)


class ToldApart:
    """Streams that give every video frame and its own sound the same vector: the confidence and the shift are
    known."""

    def __init__(self, late: int) -> None:
        self.late = late

    def see(self, faces):
        return self._vector(torch.round(faces[:, 0, 0, 0, 0]).long() - self.late)

    def hear(self, sound):
        return self._vector(torch.round(sound[:, 0, 1, 0]).long())

    @staticmethod
    def _vector(index):
        return torch.nn.functional.one_hot(index.clamp(0, 255), 256).float()


@pytest.mark.parametrize("late", [0, 3, -2])
def test_a_known_shift_is_found_with_a_known_confidence(monkeypatch, late):
    frames = 60
    crops = (torch.arange(frames) / 255)[:, None, None, None].expand(frames, 3, 4, 4)
    # which frame each 10 ms belong to
    clock = torch.arange(13 * frames * 4).float().reshape(frames * 4, 13)[:, :1] / 13 // 4
    monkeypatch.setattr(
        "personatalk_core.evaluation.judges.syncnet.mfcc", lambda samples: clock.T.expand(13, -1)
    )
    found = sync_score(ToldApart(late), crops, torch.zeros(1))
    assert found["sync_offset"] == late
    # orthogonal vectors are the root of 2 apart
    assert found["sync_distance"] < 0.2 and found["sync_score"] > 1.2
