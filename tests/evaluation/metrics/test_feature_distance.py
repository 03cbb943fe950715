from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import ShapeError, WeightsError
from personatalk_core.evaluation.judges.onnx_network import onnx_features
from personatalk_core.evaluation.metrics.feature_distance import (
    cosine_similarity,
    filter_bank,
    frechet_distance,
    shape_similarity,
)


def test_frechet_distance_of_gaussians_is_the_formula():
    cloud = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    cloud = (cloud - cloud.mean(0)) / cloud.std(0)
    assert frechet_distance(cloud, cloud) == pytest.approx(0.0, abs=1e-5)
    assert frechet_distance(cloud + torch.tensor([3.0, 0, 4.0]), cloud) == pytest.approx(25.0, abs=1e-4)
    assert frechet_distance(2 * cloud, cloud) == pytest.approx(3.0, abs=0.02)  # three axes, (2 - 1)^2 each


def test_frechet_distance_needs_pictures_and_one_width():
    with pytest.raises(ShapeError, match="at least 2"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(ShapeError, match="other features"):
        frechet_distance(torch.zeros(5, 3), torch.zeros(5, 4))


def test_filter_bank_tells_blurred_pictures_from_sharp_ones():
    sharp = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    more = torch.rand(12, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    soft = torch.nn.functional.avg_pool2d(more, 3, 1, 1)
    assert filter_bank(sharp).shape == (12, 240)
    assert frechet_distance(filter_bank(soft), filter_bank(sharp)) > 10 * frechet_distance(
        filter_bank(more), filter_bank(sharp)
    )


def test_cosines():
    rows = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    assert cosine_similarity(rows, torch.tensor([[2.0, 0.0], [-1.0, -1.0]])).tolist() == pytest.approx(
        [1.0, -1.0]
    )
    assert shape_similarity(torch.tensor([1.0, 2.0]), torch.tensor([-2.0, 1.0])) == pytest.approx(
        0.0, abs=1e-6
    )


def test_a_missing_or_broken_network_is_one_sentence(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        onnx_features(tmp_path / "arcface.onnx", 112)
    (tmp_path / "broken.onnx").write_bytes(b"not a network")
    with pytest.raises(WeightsError, match="cannot be read"):
        onnx_features(tmp_path / "broken.onnx", 112)
