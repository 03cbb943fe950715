"""Half precision agrees with single precision, on every device there is; each device has its attention
kernel."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend

from personatalk_core.evaluation.metrics.reconstruction import masked_psnr, region_masks
from personatalk_core.rendering.global_attention import (
    attend_tokens,
    attention_kernels,
    token_attention_plain,
)
from personatalk_core.rendering.renderer import (
    RendererConfig,
    Targets,
    build_renderer,
    encode_references,
    load_renderer,
    render,
)
from personatalk_core.weights.resolver import resolve_weights

LEAST_DB = 45.0
HALVES = [torch.bfloat16, torch.float16]


def present(kind: str) -> str:
    """The device, or a skip that says why."""
    if kind == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device; the same test runs on the CPU")
    if kind == "mps" and not torch.backends.mps.is_available():
        pytest.skip("this machine has no MPS device; the same test runs on the CPU")
    return kind


def agreement(renderer, clip, face_model, device: str, dtype: torch.dtype) -> float:
    """PSNR inside the face of everything under autocast against everything in single precision on the CPU,
    dB."""
    pictures = []
    for kind, half in (("cpu", torch.float32), (device, dtype)):
        model, there = renderer.to(kind), face_model.to(kind)
        crops, points, expression = (x.to(kind) for x in (clip.crops, clip.points, clip.expression))
        with torch.inference_mode(), torch.autocast(kind, half, enabled=half != torch.float32):
            lip, face = (
                encode_references(model, crops[i], points[i], expression[i], there)
                for i in ([0, 2, 4, 8, 10], [4, 6, 7])
            )
            targets = Targets(points[5:6], expression[5:6])
            pictures.append(render(model, targets, lip, face, there).rgb.float().cpu())
    renderer.to("cpu")
    inside = region_masks(clip.points[5:6], face_model, 256).face
    return float(masked_psnr(pictures[1], pictures[0], inside))


@pytest.mark.parametrize("dtype", HALVES, ids=["bf16", "fp16"])
@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_half_precision_of_the_shipped_weights(clip, face_model, device, dtype):
    renderer = load_renderer(resolve_weights("renderer").path)
    assert agreement(renderer, clip, face_model, present(device), dtype) > LEAST_DB


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_half_precision_of_the_papers_variant(clip, face_model, device):
    renderer = build_renderer(
        RendererConfig(variant="global", width=16, attention_width=8, decoder_width=16)
    ).requires_grad_(False)
    assert agreement(renderer, clip, face_model, present(device), torch.bfloat16) > LEAST_DB


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_other_devices_agree_with_the_cpu(clip, face_model, device):
    renderer = load_renderer(resolve_weights("renderer").path)
    assert agreement(renderer, clip, face_model, present(device), torch.float32) > 60.0


def test_one_function_chooses_the_kernel():
    assert (
        attention_kernels("cuda", torch.float16)[0]
        == attention_kernels("cpu", torch.float32)[0]
        == SDPBackend.FLASH_ATTENTION
    )
    assert attention_kernels("cuda", torch.float32)[0] == SDPBackend.EFFICIENT_ATTENTION
    for device in ("cuda", "cpu", "mps"):
        for dtype in (torch.float32, *HALVES):
            assert attention_kernels(device, dtype)[-1] == SDPBackend.MATH  # something always works


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("shape", [(50, 300, 22, 64), (7, 9, 20, 8), (1, 1, 4, 4)], ids=str)
def test_the_kernels_give_what_plain_products_give(device, shape):
    there = present(device)
    queries, keys, depth, width = shape
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(n, d, generator=generator) for n, d in ((queries, depth), (keys, depth), (keys, width))
    )
    fast = attend_tokens(*(x[None, None].to(there) for x in (query, key, value)))[0, 0].cpu()
    assert fast.shape == (queries, width) and torch.allclose(
        fast, token_attention_plain(query, key, value), atol=1e-4
    )
