"""Checks name the field, what came and what was expected."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk_core.checks import check_finite, check_range, check_rising, check_shape
from personatalk_core.errors import PersonaTalkError, ShapeError


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
def test_shape_returns_the_named_axes(make):
    assert check_shape("points", make((4, 7, 3)), "T", "V", 3) == {"T": 4, "V": 7}
    assert check_shape("square", make((5, 5)), "N", "N") == {"N": 5}
    assert check_shape("number", make(())) == {}


@pytest.mark.parametrize(
    ("shape", "expected", "message"),
    [
        ((4, 7), ("T", "V", 3), r"points has shape \(4, 7\) but expected \(T, V, 3\)\."),
        ((4, 7, 2), ("T", "V", 3), r"points has shape \(4, 7, 2\) but expected \(T, V, 3\)\."),
        ((4, 5), ("N", "N"), r"points has shape \(4, 5\) but expected \(N, N\)\."),
        ((4,), (5,), r"points has shape \(4,\) but expected \(5,\)\."),
        ((4,), (), r"points has shape \(4,\) but expected \(\)\."),
    ],
)
def test_other_shapes_are_refused(shape, expected, message):
    with pytest.raises(ShapeError, match=message):
        check_shape("points", np.zeros(shape), *expected)


@pytest.mark.parametrize("convert", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_finite(convert, value):
    good = np.ones((2, 3), dtype=np.float32)
    check_finite("weights", convert(good))
    bad = good.copy()
    bad[0, 2] = bad[1, 1] = value
    with pytest.raises(ShapeError, match=r"weights has 2 non-finite values, the first at \(0, 2\)"):
        check_finite("weights", convert(bad))


def test_finite_of_one_number_and_of_integers():
    check_finite("n", np.float32(1.0))
    check_finite("n", np.arange(3))
    check_finite("n", torch.arange(3))
    with pytest.raises(ShapeError, match="1 non-finite"):
        check_finite("n", np.float32("nan"))


def test_range_includes_its_ends():
    for value in (0.0, 1.0, 2.0):
        check_range("strength", value, 0.0, 2.0)
    for value in (-0.001, 2.001, float("nan")):
        with pytest.raises(ShapeError, match=r"strength is .* but expected a number in \[0.0, 2.0\]"):
            check_range("strength", value, 0.0, 2.0)


def test_rising():
    check_rising("times", np.array([0.0, 0.04, 0.1]))
    check_rising("times", np.array([0.0]))
    with pytest.raises(ShapeError, match="times goes from 0.04 to 0.04 at frame 2"):
        check_rising("times", np.array([0.0, 0.04, 0.04]))
    with pytest.raises(ShapeError, match="at frame 1"):
        check_rising("times", np.array([0.0, np.nan]))
    with pytest.raises(ShapeError, match="times is empty"):
        check_rising("times", np.array([]))


def test_a_caller_may_catch_what_it_knows():
    assert issubclass(ShapeError, PersonaTalkError)
    assert issubclass(ShapeError, ValueError)
