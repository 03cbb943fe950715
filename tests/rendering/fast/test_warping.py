"""Reference pixels read through OpenCV are those read through torch, and sharp."""

from __future__ import annotations

import torch

from personatalk_core.rendering.fast.warping import sample_rows, warp_references
from personatalk_core.rendering.surface import KERNEL, sample_at
from personatalk_core.rendering.surface import warp_references as warp_references_plain


def images(layout: torch.memory_format) -> torch.Tensor:
    return torch.rand(4, 3, 64, 80, generator=torch.Generator().manual_seed(0)).contiguous(
        memory_format=layout
    )


def wandering(count: int) -> torch.Tensor:
    """Positions (count, 2, 50, 60) that turn, stretch and leave the image on all sides."""
    y, x = torch.meshgrid(torch.arange(50.0), torch.arange(60.0), indexing="ij")
    noise = torch.rand(count, 2, 50, 60, generator=torch.Generator().manual_seed(1))
    return torch.stack([1.5 * x - 0.1 * y - 6.0, 1.4 * y + 0.1 * x - 5.0]) + noise


def test_the_fast_way_equals_torch_at_the_same_positions():
    for layout in (torch.contiguous_format, torch.channels_last):
        positions = wandering(3)
        rows = torch.tensor([2, 0, 2])
        fast, plain = (
            warp_references(images(layout), rows, positions),
            warp_references_plain(images(layout), rows, positions),
        )
        assert fast.shape == (3, 3, 50, 60) and float((fast - plain).abs().max()) < 1e-4


def test_rounding_positions_is_invisible_on_a_picture():
    smooth = torch.nn.functional.interpolate(images(torch.contiguous_format), scale_factor=8, mode="bicubic")
    row = torch.tensor([1])
    difference = warp_references(smooth, row, 8 * wandering(1)) - sample_at(
        smooth[row], 8 * wandering(1), mode=KERNEL
    )
    assert float(difference.abs().max()) < 1 / 255 and float(difference.abs().mean()) < 0.25 / 255


def test_pixel_centres_read_the_pixels_themselves():
    y, x = torch.meshgrid(torch.arange(64.0) + 0.5, torch.arange(80.0) + 0.5, indexing="ij")
    read = warp_references(images(torch.channels_last), torch.tensor([3]), torch.stack([x, y])[None])
    assert float((read - images(torch.channels_last)[3]).abs().max()) < 1e-6


def test_no_reference_reads_nothing():
    for source in (images(torch.channels_last), images(torch.contiguous_format).requires_grad_(True)):
        read = warp_references(source, torch.tensor([1, -1]), wandering(2))
        assert float(read[0].detach().abs().max()) > 0 and float(read[1].detach().abs().max()) == 0


def test_images_that_learn_go_through_torch():
    learned = images(torch.contiguous_format).requires_grad_(True)
    warp_references(learned, torch.tensor([0]), wandering(1)).sum().backward()
    assert float(learned.grad.abs().max()) > 0


def test_rows_of_a_table_equal_bilinear_reading():
    """Keys, values and strength are read as rows of one table, plainly by ``grid_sample``."""
    rows, positions = torch.tensor([3, 0, 1]), wandering(3)
    for layout in (torch.contiguous_format, torch.channels_last):
        groups = images(layout), images(layout)[:, :1]
        for group, read in zip(groups, sample_rows(groups, rows, 4 * positions, scale=0.25), strict=True):
            assert torch.allclose(read, sample_at(group[rows], positions), atol=1e-5)
