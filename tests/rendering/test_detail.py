"""Fine detail lost by blending comes back in strength, and nothing else changes."""

from __future__ import annotations

import torch

from personatalk_core.rendering.detail import (
    BLENDED,
    MAX_GAIN,
    blend,
    blend_in_detail,
    detail_gain,
    fine_part,
    fine_strength,
)


def restored_of(
    weights: torch.Tensor, pixels: torch.Tensor, sharp: torch.Tensor | None = None
) -> torch.Tensor:
    """One target's blend (3, h, w) with its detail; sharp: the references in their own frames, if they are
    not ``pixels``."""
    strength = fine_strength(pixels if sharp is None else sharp, 4)
    return blend_in_detail(weights[None], pixels[None], strength[None], 4)[0]


def noise(count: int, seed: int = 0) -> torch.Tensor:
    """Flat grey pictures with grain: the grain of an average of N is 1 / sqrt(N) as strong."""
    grain = torch.randn(count, 1, 64, 64, generator=torch.Generator().manual_seed(seed))
    return 0.5 + 0.06 * grain.expand(-1, 3, -1, -1)


def test_one_reference_is_left_alone():
    pixels = noise(1)
    assert torch.allclose(restored_of(torch.ones(1, 64, 64), pixels), pixels[0], atol=1e-5)


def test_texture_comes_from_the_nearest_reference_and_colour_from_the_blend():
    dark, bright = noise(1) - 0.2, torch.full((1, 3, 64, 64), 0.7)
    pixels, weights = (
        torch.cat([dark, bright]),
        torch.stack([torch.full((64, 64), 0.7), torch.full((64, 64), 0.3)]),
    )
    blended = (weights[:, None] * pixels).sum(dim=0)
    restored = restored_of(weights, pixels)
    assert float((restored.mean() - blended.mean()).abs()) < 1e-3
    assert float(fine_part(restored[None]).std()) > 1.15 * float(fine_part(blended[None]).std())


def test_grain_averaged_away_comes_back():
    pixels, weights = noise(3), torch.full((3, 64, 64), 1 / 3)
    blended = (weights[:, None] * pixels).sum(dim=0)
    restored = restored_of(weights, pixels)
    strength = [float(fine_part(p[None]).std()) for p in (pixels[0], blended, restored)]
    assert strength[1] < 0.65 * strength[0] and abs(strength[2] / strength[0] - 1 - BLENDED) < 0.05


def test_what_carrying_softened_is_strong_again():
    """The references' strength is known from their own frames, so that reading them between pixels costs no
    detail."""
    sharp, weights = noise(3), torch.full((3, 64, 64), 1 / 3)
    soft = sharp - 0.5 * fine_part(sharp)
    restored = [restored_of(weights, soft, p) for p in (sharp, soft)]
    strength = [float(fine_part(p[None]).std()) for p in restored]
    assert strength[0] > 1.15 * strength[1]


def test_negative_weights_do_not_add_detail():
    pixels, weights = noise(2), torch.stack([torch.full((64, 64), 1.2), torch.full((64, 64), -0.2)])
    blended = (weights[:, None] * pixels).sum(dim=0)
    restored = restored_of(weights, pixels)
    assert float(fine_part(restored[None]).std()) <= (1 + MAX_GAIN) * float(fine_part(blended[None]).std())
    assert float((restored - pixels[0]).abs().mean()) < float((blended - pixels[0]).abs().mean())


def test_the_smooth_part_stays():
    pixels, weights = noise(3), torch.full((3, 64, 64), 1 / 3)
    blended = (weights[:, None] * pixels).sum(dim=0)
    change = restored_of(weights, pixels) - blended
    assert float(torch.nn.functional.avg_pool2d(change[None], 16).abs().max()) < 0.02


def test_a_smooth_blend_gets_no_detail():
    flat = torch.full((2, 3, 32, 32), 0.4)
    assert torch.allclose(restored_of(torch.full((2, 32, 32), 0.5), flat), flat[0], atol=1e-6)


def test_a_shift_of_colour_equals_shifted_references():
    pixels, weights = (
        noise(3),
        torch.softmax(torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(1)), dim=0),
    )
    shift, strength = (
        torch.tensor([[[0.1, -0.05, 0.02], [0.0, 0.1, 0.0], [-0.1, 0.0, 0.05]]]),
        fine_strength(pixels, 4)[None],
    )
    moved = pixels[None] + shift[..., None, None]
    fast = blend_in_detail(weights[None], pixels[None], strength, 4, shift)
    assert torch.allclose(fast, blend_in_detail(weights[None], moved, strength, 4), atol=1e-5)


def test_detail_reaches_the_strength_that_is_wanted():
    """Also where a blend has lost more of its finest part than of what is coarser."""
    sharp = noise(2)
    soft = torch.nn.functional.avg_pool2d(sharp, 3, stride=1, padding=1, count_include_pad=False)
    for picture in (sharp, soft, 0.5 * (sharp + soft)):
        wanted = 2.0 * fine_strength(picture, 8)[:, None].mean(dim=(2, 3), keepdim=True).expand(-1, -1, 8, 8)
        detail = fine_part(picture)
        missing = detail_gain(detail, wanted, 8)
        got = fine_strength(
            picture + torch.nn.functional.interpolate(missing, scale_factor=8, mode="bilinear") * detail, 8
        )
        assert abs(float(got.mean()) / float(wanted.mean()) - 1) < 0.1


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_one_repeated_reference_is_returned():
    values = random(2, 1, 3, 4, 4).expand(-1, 6, -1, -1, -1)
    weights = torch.softmax(random(2, 6, 4, 4, seed=3), dim=1)
    assert torch.allclose(blend([weights], values)[0], values[:, 0], atol=1e-6)


def test_a_shift_is_added_to_what_is_blended():
    weights, values, shift = (
        torch.softmax(random(2, 6, 4, 5), dim=1),
        random(2, 6, 3, 4, 5, seed=1),
        random(2, 6, 3, seed=2),
    )
    for one, other in zip(
        blend((weights, weights.flip(1)), values, shift), (weights, weights.flip(1)), strict=True
    ):
        assert torch.allclose(one, blend([other], values + shift[..., None, None])[0], atol=1e-6)
