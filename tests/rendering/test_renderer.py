"""The whole renderer before training: it already reproduces a painted head, fast and slow paths agree, files
round-trip."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.compose.masks import lower_face_mask
from personatalk_core.errors import ShapeError, WeightsError
from personatalk_core.evaluation.metrics.reconstruction import masked_psnr, region_masks
from personatalk_core.rendering.batch import EncodedReferences
from personatalk_core.rendering.renderer import (
    RendererConfig,
    Targets,
    build_renderer,
    encode_references,
    load_renderer,
    render,
    save_renderer,
)
from personatalk_core.rendering.surface import draw_surface
from personatalk_core.weights.resolver import resolve_weights

SMALL = {"width": 16, "attention_width": 8, "decoder_width": 16}


def encode(renderer, clip, rows, face_model) -> EncodedReferences:
    return encode_references(renderer, clip.crops[rows], clip.points[rows], clip.expression[rows], face_model)


@pytest.fixture(scope="module", params=["aligned", "global"])
def renderer(request):
    return build_renderer(RendererConfig(variant=request.param, **SMALL)).requires_grad_(False)


@pytest.fixture(scope="module")
def aligned():
    return build_renderer(RendererConfig(**SMALL)).requires_grad_(False)


def shaken(renderer):
    """A copy whose learned terms are no longer zero, as after training."""
    other = build_renderer(renderer.config, seed=3).requires_grad_(False)
    generator = torch.Generator().manual_seed(5)
    for parameter in other.parameters():
        if parameter.ndim > 0 and float(parameter.abs().max()) == 0.0:
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    return other


def test_an_unseen_geometry_is_rendered_before_training(renderer, clip, face_model):
    lip, face = (
        encode(renderer, clip, [0, 2, 4, 8, 10], face_model),
        encode(renderer, clip, [4, 6, 7], face_model),
    )
    crops = render(renderer, Targets(clip.points[5:6], clip.expression[5:6]), lip, face, face_model)
    assert crops.rgb.shape == (1, 3, 256, 256) and crops.lip.shape == crops.face.shape == (1, 1, 256, 256)
    masks = region_masks(clip.points[5:6], face_model, 256)
    least = 38.0 if renderer.config.variant == "aligned" else 26.0
    assert float(masked_psnr(crops.rgb, clip.crops[5:6], masks.face)) > least
    assert float(crops.rgb.min()) >= 0.0 and float(crops.rgb.max()) <= 1.0


def test_windows_equal_the_dense_twin(aligned, clip, face_model):
    renderer = shaken(aligned)
    lip, face = (
        encode(renderer, clip, [0, 2, 4, 8, 10], face_model),
        encode(renderer, clip, [4, 6], face_model),
    )
    arguments = (renderer, Targets(clip.points[5:7], clip.expression[5:7]), lip, face, face_model)
    fast, slow = render(*arguments), render(*arguments, dense=True)
    assert float((fast.rgb - slow.rgb).abs().max()) < 1e-4


def test_what_is_shown_is_the_same_when_nothing_else_is_asked_for(clip, face_model):
    renderer = load_renderer(resolve_weights("renderer").path)
    lip, face = (
        encode(renderer, clip, [0, 2, 4, 8, 10], face_model),
        encode(renderer, clip, [4, 6], face_model),
    )
    targets = Targets(clip.points[5:7], clip.expression[5:7])
    soft = torch.stack(
        [lower_face_mask(clip.points[4], points, face_model, 256) for points in clip.points[5:7]]
    )
    shown, whole = (
        render(renderer, some, lip, face, face_model) for some in (replace(targets, wanted=soft > 0), targets)
    )
    assert float(((shown.rgb - whole.rgb).abs() * soft[:, None]).max()) < 1e-4
    assert float((shown.rgb - whole.rgb)[..., :40, :].abs().max()) > 1e-3  # the forehead was left out


def test_nothing_wanted_gives_the_nearest_reference(aligned, clip, face_model):
    lip, face = encode(aligned, clip, [0, 2], face_model), encode(aligned, clip, [5], face_model)
    nothing = torch.zeros(1, 256, 256, dtype=torch.bool)
    targets = Targets(clip.points[5:6], clip.expression[5:6], wanted=nothing)
    out = render(aligned, targets, lip, face, face_model)
    assert torch.equal(out.rgb[0], clip.crops[5])


def test_a_batch_equals_its_frames_one_by_one(renderer, clip, face_model):
    lip, face = encode(renderer, clip, [0, 3, 9], face_model), encode(renderer, clip, [4, 6, 7], face_model)
    index = torch.tensor([[0, 1], [2, 1]])
    allowed = torch.tensor([[True, True, False], [True, False, True]])
    targets = Targets(clip.points[5:7], clip.expression[5:7], index, allowed)
    both = render(renderer, targets, lip, face, face_model)
    for b in range(2):
        one = render(
            renderer,
            Targets(clip.points[5 + b : 6 + b], clip.expression[5 + b : 6 + b]),
            lip[allowed[b].nonzero()[:, 0]],
            face[index[b]],
            face_model,
        )
        assert float((one.rgb[0] - both.rgb[b]).abs().max()) < 1e-4


def test_references_join_and_index(aligned, clip, face_model):
    all_at_once = encode(aligned, clip, [1, 2, 3], face_model)
    joined = EncodedReferences.join([encode(aligned, clip, [i], face_model) for i in (1, 2, 3)])
    drawn = torch.nn.functional.max_pool2d(
        draw_surface(clip.points[1:4], face_model, 256).mesh[:, None].float(), 4
    )  # (3, 1, 64, 64)
    difference = (
        joined.face_key_value - all_at_once.face_key_value
    ) * drawn  # beside the meshes, a few latents more are encoded together
    assert len(joined) == 3 and float(difference.abs().max()) < 1e-5
    assert torch.equal(all_at_once[1].points, all_at_once[torch.tensor([1])].points)
    assert torch.equal(all_at_once[-1].points, all_at_once[2:].points)


def test_larger_crops_keep_their_own_pixels(aligned, clip, face_model):
    big = torch.nn.functional.interpolate(clip.crops[:8], (512, 512), mode="bilinear")
    generator = torch.Generator().manual_seed(0)
    grain = torch.rand(8, 1, 512, 512, generator=generator) * 0.05
    crops, points = big + grain, clip.points[:8] * 2.0
    rows = torch.tensor([2])
    references = encode_references(aligned, crops[rows], points[rows], clip.expression[rows], face_model)
    out = render(aligned, Targets(points[rows], clip.expression[rows]), references, references, face_model)
    masks = region_masks(points[rows], face_model, 512)
    assert out.rgb.shape[-1] == 512 and float(masked_psnr(out.rgb, crops[rows], masks.face)) > 40.0


def test_training_reaches_every_parameter(clip, face_model):
    renderer = build_renderer(RendererConfig(**SMALL)).train()
    with torch.no_grad():
        for parameter in renderer.parameters():
            if parameter.ndim > 0 and float(parameter.abs().max()) == 0.0:
                parameter.fill_(0.01)
        for layer in (renderer.lip_attention, renderer.face_attention):
            # the painted heads' mouths differ much: without this one reference takes all
            layer.log_shape.zero_()
            layer.log_pose.zero_()
    lip, face = encode(renderer, clip, [0, 3, 9], face_model), encode(renderer, clip, [4, 7], face_model)
    render(
        renderer, Targets(clip.points[5:6], clip.expression[5:6]), lip, face, face_model
    ).rgb.square().mean().backward()
    without = [
        n for n, p in renderer.named_parameters() if p.grad is None or not bool(p.grad.abs().max() > 0)
    ]
    assert without == ["coordinate_sharpness"]  # only the global variant uses it


def test_weights_round_trip(tmp_path, aligned, clip, face_model):
    save_renderer(tmp_path / "renderer.safetensors", shaken(aligned), licence="Apache-2.0", card="test")
    loaded = load_renderer(tmp_path / "renderer.safetensors")
    assert loaded.config == aligned.config and not any(p.requires_grad for p in loaded.parameters())
    again = load_renderer(tmp_path / "renderer.safetensors")
    rows = [0, 1]
    references = [encode(r, clip, rows, face_model) for r in (loaded, again)]
    assert torch.equal(references[0].face_key_value, references[1].face_key_value)


def test_the_bundled_weights_load():
    from personatalk_core.geometry.face_model import BUNDLED_FACE_MODEL

    renderer = load_renderer(BUNDLED_FACE_MODEL.parent / "renderer.safetensors")
    assert renderer.config.variant == "aligned"
    with pytest.raises(WeightsError, match="renderer"):
        load_renderer(BUNDLED_FACE_MODEL)


def test_wrong_shapes_are_refused(aligned, clip, face_model):
    with pytest.raises(ShapeError, match="multiple of 64"):
        encode_references(
            aligned, clip.crops[:1, :, :200, :200], clip.points[:1], clip.expression[:1], face_model
        )
    with pytest.raises(ShapeError, match="points"):
        encode_references(aligned, clip.crops[:1], clip.points[:1, :400], clip.expression[:1], face_model)
    references = encode(aligned, clip, [0, 1], face_model)
    with pytest.raises(ShapeError, match="no allowed lip"):
        none = Targets(clip.points[:1], clip.expression[:1], lip_allowed=torch.zeros(1, 2, dtype=torch.bool))
        render(aligned, none, references, references, face_model)
