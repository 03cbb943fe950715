from __future__ import annotations

import sys

import pytest
import torch

from personatalk_core.errors import DependencyError, ShapeError
from personatalk_core.evaluation.metrics.style_map import draw_style_map, tsne


def test_clusters_stay_clusters_and_a_seed_gives_one_map():
    generator = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(3, 16, generator=generator)
    vectors = centres.repeat_interleave(12, 0) + torch.randn(36, 16, generator=generator)
    places = tsne(vectors, seed=1)
    distance = torch.cdist(places, places)
    distance.fill_diagonal_(torch.inf)
    owner = torch.arange(36) // 12
    assert (owner[distance.argmin(1)] == owner).all()
    inner = torch.stack([places[owner == k].std(0).mean() for k in range(3)]).mean()
    middles = torch.stack([places[owner == k].mean(0) for k in range(3)])
    assert float(torch.pdist(middles).min()) > 3 * float(inner)
    assert torch.equal(places, tsne(vectors, seed=1)) and float(places.mean().abs()) < 1e-4


def test_the_picture_has_a_dot_an_original_and_a_cross_a_dub():
    places = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    svg = draw_style_map(places, ["anna", "bert", "anna"], [False, False, True])
    assert svg.count("<circle") == 2 and svg.count("<path") == 1 and "anna" in svg and "<script" not in svg
    with pytest.raises(ShapeError, match="one of each"):
        draw_style_map(places, ["anna"], [False])


def test_too_few_points_are_refused():
    with pytest.raises(ShapeError, match="at least 4"):
        tsne(torch.zeros(3, 2))


def test_without_scikit_learn_the_cure_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(DependencyError, match="pip install scikit-learn"):
        tsne(torch.rand(8, 2))
