"""Judges from ONNX files, with networks small enough to be written by hand."""

from __future__ import annotations

import sys

import pytest
import torch

from personatalk_core.errors import DependencyError, WeightsError
from personatalk_core.evaluation.judges.networks import load_judges
from personatalk_core.evaluation.judges.onnx_network import load_onnx, onnx_features
from personatalk_core.evaluation.metrics.feature_distance import (
    cosine_similarity,
    frechet_distance,
)


def varint(number):
    out = b""
    while True:
        number, low = number >> 7, number & 127
        out += bytes([low | (128 if number else 0)])
        if not number:
            return out


def number(field, value):
    return varint(field << 3) + varint(value)


def part(field, value):
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(value)) + value


def value(name, *sides):
    shape = b"".join(part(1, part(2, side) if isinstance(side, str) else number(1, side)) for side in sides)
    return part(1, name) + part(2, part(1, number(1, 1) + part(2, shape)))


def node(kind, inputs, output):
    return b"".join(part(1, name) for name in inputs) + part(2, output) + part(3, output) + part(4, kind)


def network(nodes, inputs, output):
    graph = (
        b"".join(part(1, n) for n in nodes)
        + part(2, "g")
        + b"".join(part(11, i) for i in inputs)
        + part(12, output)
    )
    return number(1, 7) + part(8, part(1, "") + number(2, 11)) + part(7, graph)


def mean_colour(size, batch=1):
    """A network whose features are the picture's mean colour."""
    return network(
        [node("GlobalAveragePool", ["picture"], "mean")],
        [value("picture", batch, 3, size, size)],
        value("mean", batch, 3, 1, 1),
    )


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "inception.onnx").write_bytes(mean_colour(299))
    (tmp_path / "arcface.onnx").write_bytes(mean_colour(112))
    squared = [
        node("Sub", ["mine", "theirs"], "d"),
        node("Mul", ["d", "d"], "q"),
        node("GlobalAveragePool", ["q"], "mean"),
    ]
    both = [value("mine", 1, 3, 16, 16), value("theirs", 1, 3, 16, 16)]
    (tmp_path / "lpips.onnx").write_bytes(network(squared, both, value("mean", 1, 3, 1, 1)))
    return tmp_path


def test_inputs_are_read_from_the_file(folder):
    assert [given.name for given in load_onnx(folder / "lpips.onnx").get_inputs()] == ["mine", "theirs"]
    assert [given.name for given in load_onnx(folder / "arcface.onnx").get_inputs()] == ["picture"]


def test_features_of_a_batch_are_those_of_its_pictures(folder):
    features = onnx_features(folder / "arcface.onnx", 112)
    pictures = torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = features(pictures)
    assert found.shape == (5, 3)
    small = torch.nn.functional.interpolate(pictures, (112, 112), mode="bilinear", antialias=True)
    torch.testing.assert_close(found, 2 * (small.mean(dim=(2, 3)) - 0.5), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.cat([features(p[None]) for p in pictures]), found, atol=1e-6, rtol=0)


def test_fid_of_pictures_that_differ_by_a_constant_is_its_square(folder):
    judges = load_judges(folder)
    assert {"inception", "arcface", "lpips"} <= set(judges.present)
    pictures = 0.5 * torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    # 0.5 in each of three features of [-1, 1]
    first, second = (
        judges.inception(pictures),
        judges.inception(pictures + 0.25),
    )
    assert frechet_distance(first, second) == pytest.approx(3 * 0.25, abs=1e-4)


def test_csim_is_the_cosine_of_the_networks_features(folder):
    judges = load_judges(folder)
    red, green = torch.zeros(1, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    red[:, 0], green[:, 1] = 1, 1  # features (1, -1, -1) and (-1, 1, -1)
    assert float(cosine_similarity(judges.arcface(red), judges.arcface(green))) == pytest.approx(
        -1 / 3, abs=1e-4
    )
    assert float(cosine_similarity(judges.arcface(red), judges.arcface(red))) == pytest.approx(1.0, abs=1e-5)


def test_lpips_takes_two_pictures_under_whatever_names(folder):
    distance = load_judges(folder).lpips
    first = torch.full((2, 3, 16, 16), 0.5)
    second = first + torch.tensor([0.0, 0.25])[:, None, None, None]
    assert distance(first, second).tolist() == pytest.approx([0.0, 0.25], abs=1e-5)  # (2 * 0.25)^2


def test_other_files_are_refused(folder):
    (folder / "lpips.onnx").write_bytes(mean_colour(16))
    with pytest.raises(WeightsError, match="takes 1 inputs"):
        load_judges(folder)
    (folder / "lpips.onnx").write_bytes(b"\x3a\xff\x01broken")
    with pytest.raises(WeightsError, match="cannot be read as ONNX"):
        load_judges(folder)
    with pytest.raises(WeightsError, match="cannot be read as ONNX"):
        load_onnx(folder / "lpips.onnx")


def test_without_onnxruntime_the_cure_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match="pip install onnxruntime"):
        load_onnx(folder / "arcface.onnx")


def test_a_network_for_one_picture_and_one_for_any_number_give_the_same(folder):
    (folder / "any.onnx").write_bytes(mean_colour(112, "n"))
    pictures = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    each, together = (onnx_features(folder / f"{name}.onnx", 112)(pictures) for name in ("arcface", "any"))
    torch.testing.assert_close(each, together)
