from __future__ import annotations

import math

import pytest
import torch

from personatalk_core.errors import OptionsError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.training.speech.style_metric import (
    Motion,
    contrastive_loss,
    draw_pair,
    fit_style_metric,
    nearest_neighbour_accuracy,
)


def speakers(face_model, count, seed=0, frames=260):
    """People who differ in how fast and along which coefficients their mouths move."""
    generator = torch.Generator().manual_seed(seed)
    motions = []
    for k in range(count):
        direction = torch.randn(face_model.lower_count, generator=generator)
        phase = torch.rand(1, generator=generator)
        wave = torch.sin(torch.arange(frames) * (0.2 + 0.15 * k) + 6 * phase)
        noise = 0.1 * torch.randn(frames, face_model.lower_count, generator=generator)
        motions.append(
            Motion(f"p{k}", wave[:, None] * direction + noise, torch.ones(frames, dtype=torch.bool))
        )
    return motions


def test_training_tells_held_out_speakers_apart():
    torch.set_num_threads(1)
    face_model = load_face_model()
    motions = speakers(face_model, 10)
    _metric, history = fit_style_metric(motions, face_model, steps=12, seed=1)
    assert history[-1]["held_out_1nn"] > 0.8 and history[-1]["loss"] < math.log(15)  # below chance
    first, second = (fit_style_metric(motions, face_model, steps=2, seed=1)[0] for _ in range(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


def test_too_few_speakers_are_refused():
    face_model = load_face_model()
    with pytest.raises(OptionsError, match="needs 4"):
        fit_style_metric(speakers(face_model, 3), face_model, steps=1)


def test_contrastive_loss_of_perfect_pairs_and_of_none():
    left = torch.eye(4)
    perfect = float(contrastive_loss(left, left))
    assert perfect == pytest.approx(math.log(1 + 6 * math.exp(-10)), abs=1e-4)
    same = torch.ones(4, 4) / 2
    # seven others, all alike
    assert float(contrastive_loss(same, same)) == pytest.approx(math.log(7), abs=1e-4)


def test_a_pair_comes_from_different_clips_or_does_not_overlap():
    generator = torch.Generator().manual_seed(0)
    one = [torch.full((2, 2), float(k)) for k in range(30)]
    for _ in range(20):
        first, second = draw_pair([one], generator)
        assert abs(float(first[0, 0] - second[0, 0])) >= 10
        first, second = draw_pair([one[:3], one[20:]], generator)
        assert (float(first[0, 0]) < 3) != (float(second[0, 0]) < 3)


def test_nearest_neighbours_are_counted():
    class Identity(torch.nn.Module):
        def forward(self, x):
            return x[:, 0]

    rows = [("a", [1.0, 0.0]), ("a", [0.99, 0.1]), ("b", [0.0, 1.0]), ("b", [0.95, 0.3])]
    windows = [(s, torch.tensor([v])) for s, v in rows]
    assert nearest_neighbour_accuracy(windows, Identity()) == 0.75  # the last is nearest to somebody else's
