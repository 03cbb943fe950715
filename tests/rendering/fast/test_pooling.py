"""Pooling by sums equals torch's own."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.rendering.fast.window import mean_channel, mean_pool, mean_pool_plain


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("step", [1, 4, 5])
def test_means_over_squares(step, layout):
    images = torch.rand(3, 4, 40, 60, generator=torch.Generator().manual_seed(step)).contiguous(
        memory_format=layout
    )
    fast, plain = mean_pool(images, step), mean_pool_plain(images, step)
    assert fast.shape == (3, 4, 40 // step, 60 // step) and torch.allclose(fast, plain, atol=1e-6)
    assert torch.allclose(mean_pool(images[0], step), plain[0], atol=1e-6)


def test_the_mean_of_channels():
    images = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(mean_channel(images), images.mean(dim=1, keepdim=True), atol=1e-6)
