"""Mouth opening and width against distances counted by hand."""

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.vertices import mouth_opening, mouth_width


def test_opening_and_width_of_a_known_mouth():
    model = load_face_model()
    shape = torch.zeros(1, model.vertex_count, 3)
    shape[0, [82, 13, 312], 1] = 0.1  # upper middle
    shape[0, [87, 14, 317], 1] = -0.2  # lower middle
    shape[0, 78, 0], shape[0, 308, 0] = -0.3, 0.4
    assert float(mouth_opening(shape, model)) == pytest.approx(0.3)
    assert float(mouth_width(shape, model)) == pytest.approx(0.7)
    shape[0, [82, 13, 312], 1] = -0.2
    assert float(mouth_opening(shape, model)) == 0


def test_wrong_vertex_count_is_refused():
    with pytest.raises(ShapeError, match="vertices"):
        mouth_opening(torch.zeros(1, 5, 3), load_face_model())
