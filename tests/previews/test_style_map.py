"""Places of styles on a map, and its picture."""

import cv2
import numpy as np
import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, ShapeError
from personatalk_core.previews.style_map import BACKGROUND, draw_style_map, style_positions
from personatalk_core.types import StyleEmbedding


def style(vector, name="a", network="n", thumbnail=b""):
    return StyleEmbedding(torch.tensor(vector, dtype=torch.float32), name, "m", network, thumbnail=thumbnail)


def test_two_dimensional_styles_keep_their_distances():
    vectors = torch.randn(6, 2, generator=torch.Generator().manual_seed(0)) * 3
    turned = vectors @ torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1)))[0][:2]
    places = torch.from_numpy(style_positions([style(v.tolist()) for v in turned]))
    torch.testing.assert_close(
        torch.cdist(places, places), torch.cdist(vectors, vectors), atol=1e-4, rtol=1e-4
    )


def test_one_style_lies_in_the_middle_and_two_on_a_line():
    assert np.array_equal(style_positions([style([1.0, 2.0])]), np.zeros((1, 2), np.float32))
    places = style_positions([style([0.0, 0.0]), style([4.0, 0.0])])
    assert np.abs(places[:, 1]).max() < 1e-6 and abs(abs(places[0, 0] - places[1, 0]) - 4) < 1e-5


def test_a_mix_lies_between():
    a, b = style([1.0, 0.0, 3.0]), style([-1.0, 2.0, 0.0])
    places = style_positions([a, b, style(((a.vector + b.vector) / 2).tolist())])
    np.testing.assert_allclose(places[2], (places[0] + places[1]) / 2, atol=1e-5)


def test_picture_shows_dots_and_thumbnails():
    jpeg = cv2.imencode(".jpg", np.full((64, 64, 3), (0, 0, 255), np.uint8))[
        1
    ].tobytes()  # red, in cv2's order
    picture = draw_style_map([style([0.0, 0.0], "plain"), style([1.0, 1.0], "red", thumbnail=jpeg)], 256)
    assert picture.shape == (256, 256, 3)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert red.sum() > 2000
    assert ((picture != BACKGROUND).any(-1) & ~red).sum() > 300


def test_damaged_thumbnail_becomes_a_dot():
    assert draw_style_map([style([0.0, 1.0], thumbnail=b"no jpeg")], 128).shape == (128, 128, 3)


def test_other_networks_and_nothing_are_refused():
    with pytest.raises(FaceModelMismatchError):
        style_positions([style([0.0]), style([1.0], network="other")])
    with pytest.raises(ShapeError):
        style_positions([])
