"""The figure as code: known answers of its parts, and the fast renderer draws what ``forward`` draws, on
random pixels, on a painted head and on a real face."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from personatalk_core.rendering.batch import ReferenceFrames
from personatalk_core.rendering.network import (
    DualAttentionRenderer,
    ReferenceAttention,
    RendererConfig,
    aligned_weights,
    fuse,
)
from personatalk_core.rendering.renderer import (
    Targets,
    build_renderer,
    encode_references,
    load_renderer,
    render,
)
from personatalk_core.rendering.similarity import geometric_logits, squared_distance
from personatalk_core.rendering.surface import draw_surface
from personatalk_core.weights.resolver import resolve_weights

SMALL = {"width": 16, "attention_width": 8, "decoder_width": 16}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def one_latent_after_the_other(query: torch.Tensor, key: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``aligned_weights`` in the slowest way there is."""
    weights = torch.zeros_like(bias)
    for b, y, x in product(*map(range, (len(bias), *bias.shape[-2:]))):
        logits = torch.stack(
            [
                (query[b, :, y, x] * one[:, y, x]).sum() + start[y, x]
                for one, start in zip(key[b], bias[b], strict=True)
            ]
        )
        weights[b, :, y, x] = logits.exp() / logits.exp().sum()
    return weights


def test_aligned_weights_equal_a_loop_over_latents():
    query, key, bias = random(2, 8, 3, 4), random(2, 5, 8, 3, 4, seed=1), random(2, 5, 3, 4, seed=2)
    assert torch.allclose(
        aligned_weights(query, key, bias), one_latent_after_the_other(query, key, bias), atol=1e-6
    )


def test_the_nearest_reference_wins_before_training():
    attention = ReferenceAttention(RendererConfig(width=8, attention_width=4), (8000.0, 30.0)).requires_grad_(
        False
    )
    shape, pose = random(1, 6)[0] * 0.02, random(1, 9)[0]
    shapes, poses = torch.stack([shape + 0.05, shape, shape - 0.03]), pose.expand(3, -1)
    logits = geometric_logits(
        attention.sharpness(random(1, 8, 5, 5)), squared_distance(shape[None], pose[None], shapes, poses)
    )
    assert bool((logits.argmax(dim=1) == 1).all())
    assert float(attention.query(random(1, 8, 5, 5)).abs().max()) == 0.0


def test_fuse_is_equation_four():
    lip, face, mask = random(3, 2, 2), random(3, 2, 2, seed=1), torch.tensor([[[0.0, 1.0], [0.5, 0.25]]])
    fused = fuse(lip, face, mask)
    assert torch.equal(fused[:, 0, 0], face[:, 0, 0]) and torch.equal(fused[:, 0, 1], lip[:, 0, 1])
    assert torch.allclose(fused[:, 1, 0], (lip + face)[:, 1, 0] / 2)


def shaken(config: RendererConfig) -> DualAttentionRenderer:
    """A renderer whose learned terms are no longer zero, as after training."""
    network = build_renderer(config, seed=3).requires_grad_(False)
    for k, parameter in enumerate(network.parameters()):
        if parameter.ndim > 0 and float(parameter.abs().max()) == 0.0:
            parameter.copy_(random(*parameter.shape, seed=k) * 0.05)
    return network


def frames(crops, points, expression, rows) -> ReferenceFrames:
    return ReferenceFrames(crops[rows], points[rows], expression[rows])


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def difference(network, targets, lip, face, face_model) -> float:
    """Largest difference between the figure and the fast renderer in what a target shows.

    On one thread, so that both draw all targets together: which rectangle is drawn decides the last bits of
    places, and so, for a pixel here and there, to which 1/32 of a pixel they are rounded.
    """
    with torch.inference_mode():
        plain = network(targets, lip, face, face_model)
        lips, faces = (
            encode_references(network, f.crops, f.points, f.expression, face_model) for f in (lip, face)
        )
        fast = render(network, targets, lips, faces, face_model)
    assert torch.allclose(plain.lip, fast.lip, atol=1e-4) and torch.equal(plain.face, fast.face)
    shown = plain.face if targets.wanted is None else targets.wanted[:, None].float()
    return float(((plain.rgb - fast.rgb).abs() * shown).max())


@pytest.mark.parametrize(
    "changes",
    [{}, {"attention": "lip"}, {"attention": "face"}, {"geometric_start": False}, {"variant": "global"}],
    ids=str,
)
def test_the_fast_renderer_draws_the_figure(clip, face_model, changes):
    network = shaken(RendererConfig(**SMALL, **changes))
    lip, face = (
        frames(clip.crops, clip.points, clip.expression, rows) for rows in ([0, 2, 4, 8, 10], [4, 6, 7])
    )
    index = torch.tensor([[0, 1], [2, 1]])
    allowed = torch.tensor([[True, True, False, True, True], [True, False, True, True, True]])
    targets = Targets(clip.points[5:7], clip.expression[5:7], index, allowed)
    assert difference(network, targets, lip, face, face_model) < 1e-4


def test_random_pixels_are_drawn_alike(clip, face_model):
    network = shaken(RendererConfig(**SMALL))
    noise = torch.rand(12, 3, 320, 320, generator=torch.Generator().manual_seed(1))
    points = clip.points * (320 / 256)
    lip, face = (frames(noise, points, clip.expression, rows) for rows in ([0, 2, 4, 8, 10], [4, 6, 7]))
    targets = Targets(points[5:7], clip.expression[5:7])
    assert difference(network, targets, lip, face, face_model) < 1e-4


@pytest.mark.parametrize("size", [256, 320])
def test_a_real_face_is_drawn_alike(real_face, face_model, size):
    """The sample clip with the mouths of other frames, by the bundled weights, inside the mask of a dub."""
    network = load_renderer(resolve_weights("renderer").path)
    crops, points, expression, target_points, target_expression, soft = real_face(size)
    lip, face = (frames(crops, points, expression, rows) for rows in (range(0, 24, 3), [9, 10, 11, 12, 13]))
    index = torch.tensor([[0, 1, 2], [2, 3, 4]])
    targets = Targets(target_points, target_expression, index, wanted=soft > 0)
    assert difference(network, targets, lip, face, face_model) < 1e-4


def test_references_encoded_near_their_mesh_equal_whole_ones_there(clip, face_model):
    renderer, rows = load_renderer(resolve_weights("renderer").path), [1, 6]
    crops, points, expression = clip.crops[rows], clip.points[rows], clip.expression[rows]
    near = encode_references(renderer, crops, points, expression, face_model)
    whole = renderer.encode(ReferenceFrames(crops, points, expression), face_model)
    surface = draw_surface(points, face_model, 256)
    drawn = torch.nn.functional.max_pool2d(surface.mesh[:, None].float(), 4) > 0  # (N, 1, 64, 64)
    for name in ("lip_key_value", "face_key_value"):
        fast, slow = getattr(near, name), getattr(whole, name)
        assert float(((fast - slow).abs() * drawn).max()) < 1e-4
        # the rest was left out
        assert float(fast[:, :, 0].abs().max()) == 0.0 and float(slow[:, :, 0].abs().max()) > 0
    for name in ("pncc", "visibility", "shape", "pose", "strength", "pixels"):
        assert torch.allclose(getattr(near, name), getattr(whole, name), atol=1e-5)
