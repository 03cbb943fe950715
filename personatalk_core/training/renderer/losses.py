"""A perceptual loss that needs no network: responses of oriented filters at several scales, compared as the
eye weighs them.

Second derivatives of a Gaussian at three orientations are steerable (Freeman and Adelson 1991): any other
orientation is a sum of them. Responses are divided by the local energy of the truth, so that a missing lash
counts on a bright cheek as it does in a shadow. It stands where others use LPIPS, whose network cannot ship;
it is not LPIPS and its values do not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .discriminator import PatchDiscriminator, generator_loss, mouth_cut

ORIENTATIONS = 3
LEVELS = 3
SPREAD = 1.0  # of the Gaussian, pixels of its level
LEAST_ENERGY = 0.01  # response, of luma in [0, 1], below which a difference is not enlarged


def steerable_kernels(orientations: int = ORIENTATIONS, spread: float = SPREAD) -> Tensor:
    """(K, 1, 7, 7): second derivatives of a Gaussian, evenly turned, each with mean 0 and magnitudes that sum
    to 1."""
    y, x = torch.meshgrid(torch.arange(-3.0, 4.0), torch.arange(-3.0, 4.0), indexing="ij")
    envelope = torch.exp(-(x * x + y * y) / (2 * spread * spread))
    kernels = []
    for k in range(orientations):
        angle = math.pi * k / orientations
        along = x * math.cos(angle) + y * math.sin(angle)
        kernel = (along * along / spread**2 - 1.0) * envelope
        kernel = kernel - kernel.mean()
        kernels.append(kernel / kernel.abs().sum())
    return torch.stack(kernels)[:, None]


def steerable_loss(image: Tensor, truth: Tensor, weight: Tensor, levels: int = LEVELS) -> Tensor:
    """Weighted L1 of normalised responses, averaged over scales.

    Args:
        image, truth: (B, 3, H, W) in about [0, 1].  weight: (B, 1, H, W) >= 0.
    Returns:
        a scalar, 0 for equal pictures.
    """
    kernels = steerable_kernels().to(image)
    shade = image.new_tensor([0.299, 0.587, 0.114])[None, :, None, None]
    first, second, total = (
        (image * shade).sum(1, keepdim=True),
        (truth * shade).sum(1, keepdim=True),
        image.new_zeros(()),
    )
    for level in range(levels):
        if level:
            first, second, weight = (F.avg_pool2d(x, 2) for x in (first, second, weight))
        target = F.conv2d(F.pad(second, (3, 3, 3, 3), mode="replicate"), kernels)
        response = F.conv2d(F.pad(first, (3, 3, 3, 3), mode="replicate"), kernels)
        energy = F.avg_pool2d(target.square().sum(1, keepdim=True), 5, stride=1, padding=2).sqrt()
        error = (response - target).abs() / (energy + LEAST_ENERGY)
        total = total + (error * weight).sum() / (weight.sum() * len(kernels)).clamp_min(1e-6)
    return total / levels


@dataclass(frozen=True)
class RendererLossWeights:
    """pixel: L1; gradient: L1 of differences between neighbours; pyramid: L1 of Laplacian bands, which sees
    detail at every scale; perceptual: responses of steerable filters; adversarial: what a discriminator finds
    unlike film around the lips; lips: how many times a lip pixel counts a face pixel; surround: what a pixel
    outside the face counts."""

    pixel: float = 1.0
    gradient: float = 1.0
    pyramid: float = 0.5
    perceptual: float = 0.02
    adversarial: float = 0.01
    lips: float = 4.0
    surround: float = 0.1


def loss_weight(lip: Tensor, face: Tensor, weights: RendererLossWeights) -> Tensor:
    """(B, 1, H, W): what each pixel counts, from the lip mask and the face mask of the same shape."""
    return weights.surround + (1.0 - weights.surround) * face + (weights.lips - 1.0) * lip


def weighted_mean(error: Tensor, weight: Tensor) -> Tensor:
    """Mean of (B, C, H, W) under (B, 1, H, W)."""
    return (error * weight).sum() / (weight.sum() * error.shape[1]).clamp_min(1e-6)


def pixel_loss(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1."""
    return weighted_mean((image - truth).abs(), weight)


def gradient_loss(image: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted L1 of horizontal and vertical differences."""
    error = image - truth
    across = weighted_mean((error[..., 1:] - error[..., :-1]).abs(), weight[..., 1:])
    down = weighted_mean((error[..., 1:, :] - error[..., :-1, :]).abs(), weight[..., 1:, :])
    return across + down


def pyramid_loss(image: Tensor, truth: Tensor, weight: Tensor, levels: int = 3) -> Tensor:
    """Weighted L1 of Laplacian bands, each band counted at its own size."""
    error, total = image - truth, image.new_zeros(())
    for _ in range(levels):
        small = F.avg_pool2d(error, 2)
        band = error - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + weighted_mean(band.abs(), weight)
        error, weight = small, F.avg_pool2d(weight, 2)
    return total + weighted_mean(error.abs(), weight)


def renderer_loss(
    image: Tensor,
    truth: Tensor,
    lip: Tensor,
    face: Tensor,
    weights: RendererLossWeights,
    discriminator: PatchDiscriminator | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """All terms.

    Args:
        image, truth: (B, 3, H, W) in about [0, 1].  lip, face: (B, 1, H, W) of RenderedCrops.
        discriminator:    judges the mouth; None leaves its term out.
    Returns:
        the sum, and each term by name.
    """
    weight = loss_weight(lip, face, weights)
    terms = {
        "pixel": pixel_loss(image, truth, weight),
        "gradient": gradient_loss(image, truth, weight),
        "pyramid": pyramid_loss(image, truth, weight),
    }
    if weights.perceptual:
        terms["perceptual"] = steerable_loss(image, truth, weight)
    if discriminator is not None and weights.adversarial:
        rows, columns = mouth_cut(lip)
        terms["adversarial"] = generator_loss(discriminator, image[..., rows, columns])
    total = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return total, terms
