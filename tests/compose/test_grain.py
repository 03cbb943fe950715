"""Grain is measured in its strength and added where it lacks, the same in every run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personatalk_core.compose.paste_back import grain_level, missing_grain, paste_back

SIZE = 160
ROUND = (np.hypot(*(np.indices((SIZE, SIZE)) - SIZE / 2)) < 50).astype(np.float32)


def skin(deviation: float, seed: int = 0) -> np.ndarray:
    """(160, 160, 3) a shaded cheek with grain and a dark line, the lips."""
    y, x = np.indices((SIZE, SIZE)).astype(np.float32) / SIZE
    picture = np.stack([0.6 + 0.2 * x, 0.45 + 0.1 * y, 0.4 + 0.1 * x * y], axis=2).astype(np.float32)
    picture[75:82, 50:110] *= 0.4
    return picture + deviation * np.random.default_rng(seed).standard_normal((SIZE, SIZE, 1)).astype(
        np.float32
    )


@pytest.mark.parametrize("deviation", [0.0, 0.01, 0.03])
def test_the_level_is_the_deviation(deviation):
    assert grain_level(skin(deviation), ROUND > 0) == pytest.approx(deviation, rel=0.08, abs=0.001)


def test_a_clean_rendering_gets_the_grain_of_its_frame():
    before, clean = skin(0.02), skin(0.004, seed=1)
    added = clean + missing_grain(before, clean, ROUND, seed=5)
    assert grain_level(added, ROUND > 0) == pytest.approx(0.02, rel=0.1)


def test_nothing_is_added_to_enough_grain_or_in_a_speck():
    assert not missing_grain(skin(0.01), skin(0.02, seed=1), ROUND, seed=0).any()
    assert not missing_grain(skin(0.02), skin(0.0), np.zeros_like(ROUND), seed=0).any()


def test_grain_belongs_to_the_frame():
    parts = [missing_grain(skin(0.02), skin(0.0), ROUND, seed=seed) for seed in (3, 3, 4)]
    assert (
        np.array_equal(parts[0], parts[1])
        and abs(np.corrcoef(parts[0].ravel(), parts[2].ravel())[0, 1]) < 0.05
    )


def test_pasted_faces_have_the_grain_of_their_frame():
    frame = (skin(0.03).clip(0, 1) * 255).round().astype(np.uint8)
    crop = torch.from_numpy(skin(0.0)).permute(2, 0, 1)
    pasted, shown = paste_back(frame, crop, ROUND, (SIZE / 2, SIZE / 2, SIZE), seed=1)
    inside, outside = shown > 0.9, shown == 0
    levels = [grain_level(pasted.astype(np.float32) / 255, where) for where in (inside, outside)]
    assert levels[0] == pytest.approx(levels[1], rel=0.12)
    assert np.array_equal(pasted[outside], frame[outside])
