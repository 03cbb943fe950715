"""A perceptual loss that needs no network: responses of oriented filters at several scales, compared as the eye weighs them.

Second derivatives of a Gaussian at three orientations are steerable (Freeman and Adelson 1991): any other orientation is a
sum of them. Responses are divided by the local energy of the truth, so that a missing lash counts on a bright cheek as it
does in a shadow. It stands where others use LPIPS, whose network cannot ship; it is not LPIPS and its values do not compare.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

ORIENTATIONS = 3
LEVELS = 3
SPREAD = 1.0  # of the Gaussian, pixels of its level
LEAST_ENERGY = 0.01  # response, of luma in [0, 1], below which a difference is not enlarged


def steerable_kernels(orientations: int = ORIENTATIONS, spread: float = SPREAD) -> Tensor:
    """(K, 1, 7, 7): second derivatives of a Gaussian, evenly turned, each with mean 0 and magnitudes that sum to 1."""
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
    first, second, total = (image * shade).sum(1, keepdim=True), (truth * shade).sum(1, keepdim=True), image.new_zeros(())
    for level in range(levels):
        if level:
            first, second, weight = (F.avg_pool2d(x, 2) for x in (first, second, weight))
        wanted = F.conv2d(F.pad(second, (3, 3, 3, 3), mode="replicate"), kernels)
        found = F.conv2d(F.pad(first, (3, 3, 3, 3), mode="replicate"), kernels)
        energy = F.avg_pool2d(wanted.square().sum(1, keepdim=True), 5, stride=1, padding=2).sqrt()
        error = (found - wanted).abs() / (energy + LEAST_ENERGY)
        total = total + (error * weight).sum() / (weight.sum() * len(kernels)).clamp_min(1e-6)
    return total / levels
