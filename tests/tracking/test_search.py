"""Tiles cover the frame; faces of every size are found, each once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from personatalk_core.tracking.search import _starts, distinct, search_frame, tile_levels


@pytest.mark.parametrize("size", [(120, 90), (720, 1280), (1080, 1920), (2160, 3840), (1921, 1079)])
def test_tile_sizes_halve_from_the_whole_frame_to_small(size):
    levels = tile_levels(size)
    assert levels[0] == max(size) and levels[-1] <= max(160, min(320, max(size) / 12) + 1)
    assert all(b >= a / 2 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize(("length", "tile"), [(100, 256), (256, 256), (257, 256), (1000, 256)])
def test_tiles_cover_a_line_and_overlap(length, tile):
    starts = _starts(length, tile)
    assert starts[0] == 0 and starts[-1] + tile >= length
    assert all(b - a <= 0.6 * tile + 1 for a, b in itertools.pairwise(starts))


def test_distinct_keeps_the_surest():
    boxes = np.array([[10, 10, 20, 0.6], [12, 11, 22, 0.9], [80, 10, 20, 0.7]])
    assert distinct(boxes)[:, 3].tolist() == [0.9, 0.7]
    assert distinct(np.zeros((0, 4))).shape == (0, 4)


def test_a_large_and_a_small_face_are_found_once_each(landmarker, woman, man, paste):
    canvas = np.full((720, 1280, 3), 120, np.uint8)
    canvas = paste(paste(canvas, woman[0], 40, 40, 640), man[0], 1000, 300, 120)
    all_sizes = search_frame(landmarker, canvas)
    assert len(all_sizes) == 2 and abs(np.diff(all_sizes[:, 0])[0]) > 600
    assert len(search_frame(landmarker, canvas, levels=1)) == 1
