"""A gap of a pixel between the lips is softened, an open mouth is left alone."""

from __future__ import annotations

import torch

from personatalk_core.rendering.detail import soften_hairlines


def lips(height: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Lips (3, 40, 60) with a dark gap of some pixels, and the gap (40, 60)."""
    cavity = torch.zeros(40, 60, dtype=torch.bool)
    cavity[20 : 20 + height, 15:45] = True
    return torch.where(cavity, 0.1, 0.6).expand(3, -1, -1).clone(), cavity


def soften(pixels: torch.Tensor, cavity: torch.Tensor) -> torch.Tensor:
    """One picture softened."""
    return soften_hairlines(pixels[None], cavity[None])[0]


def test_a_hairline_becomes_a_soft_shadow():
    pixels, cavity = lips(1)
    soft = soften(pixels, cavity)
    assert float((soft[:, 1:] - soft[:, :-1]).abs().max()) < 0.35 * 0.5  # of the step from lip to gap
    # a line is still seen
    assert float((pixels - soft)[:, 20, 30].abs().max()) > 0.05 and float(soft[:, 20, 30].max()) < 0.55
    # as much shadow as before, spread
    assert torch.allclose(soft[:, :, 30].mean(), pixels[:, :, 30].mean(), atol=1e-4)
    assert torch.equal(soft[:, :17], pixels[:, :17]) and torch.equal(soft[..., :15], pixels[..., :15])


def test_open_and_undrawn_mouths_are_left_alone():
    for pixels, cavity in (lips(3), lips(0)):
        assert torch.equal(soften(pixels, cavity), pixels)


def test_each_mouth_of_a_batch_is_judged_alone():
    pixels, cavity = (torch.stack(both) for both in zip(lips(1), lips(3), strict=True))
    soft = soften_hairlines(pixels, cavity)
    assert (
        torch.equal(soft[0], soften(pixels[0], cavity[0]))
        and torch.equal(soft[1], pixels[1])
        and not torch.equal(soft[0], pixels[0])
    )


def test_a_gap_at_the_border_of_the_crop():
    pixels, cavity = lips(1)
    soft = soften(pixels[:, 20:], cavity[20:])
    assert soft.shape == (3, 20, 60) and bool(torch.isfinite(soft).all())
