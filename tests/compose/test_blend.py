"""Blending through a mask."""

import numpy as np
import pytest

from personatalk_core.compose.blend import blend_frame
from personatalk_core.errors import ShapeError

UNDER = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
OVER = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
BOX = np.zeros((20, 30), np.float32)
BOX[5:15, 8:22] = 1


def test_outside_stays_and_inside_is_replaced():
    out = blend_frame(UNDER, OVER, BOX)
    assert np.array_equal(out[BOX == 0], UNDER[BOX == 0]) and np.array_equal(out[BOX == 1], OVER[BOX == 1])


def test_strength_zero_or_no_mask_gives_the_frame_under_it():
    assert np.array_equal(blend_frame(UNDER, OVER, BOX, strength=0.0), UNDER)
    assert np.array_equal(blend_frame(UNDER, OVER, np.zeros_like(BOX)), UNDER)


def test_half_strength_is_the_mean():
    out = blend_frame(UNDER, OVER, BOX, strength=0.5)[BOX == 1].astype(float)
    assert np.abs(out - (UNDER[BOX == 1] / 2.0 + OVER[BOX == 1] / 2.0)).max() <= 0.5


def test_feather_fades_inwards_only():
    out = blend_frame(np.zeros_like(UNDER), np.full_like(OVER, 200), BOX, feather=4.0)[..., 0]
    assert out[BOX == 0].max() == 0 and out[10, 15] == 200
    row = out[10, 8:13].astype(int)
    assert (np.diff(row) > 0).sum() >= 3 and row[0] < 100


def test_sizes_must_fit():
    with pytest.raises(ShapeError):
        blend_frame(UNDER, OVER[:-1], BOX)
    with pytest.raises(ShapeError):
        blend_frame(UNDER, OVER, BOX, strength=1.5)
