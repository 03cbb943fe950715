"""Distances in the space of somebody's features, and the offline features that stand in where no network is
at hand.

FID, LPIPS and CSIM are numbers of particular networks (Inception-v3, VGG or AlexNet with LPIPS' weights,
ArcFace). With a network of the user's (``judges.onnx_network``) they are computed and called by their
names; without one, a stand-in with a name of its own is reported: ``filter_bank_distance``, ``gmsd``,
``shape_similarity``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from ...errors import ShapeError
from .image_quality import luma

Features = Callable[[Tensor], Tensor]
"""(N, 3, H, W) in [0, 1] to (N, D)."""


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Frechet distance of two clouds of features (N, D) and (M, D) taken as Gaussians (Heusel et al. 2017).

    Raises:
        ShapeError: fewer than 2 rows, or another width.
    """
    width = check_shape("features", first, "N", "D")["D"]
    check_shape("other features", second, "M", width)
    if min(len(first), len(second)) < 2:
        raise ShapeError(
            f"a Frechet distance needs at least 2 pictures on each side but got {len(first)} and "
            f"{len(second)}."
        )
    a, b = first.double().numpy(), second.double().numpy()
    ca, cb = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(ca)
    # ca^(1/2); trace((ca cb)^(1/2)) = trace((half cb half)^(1/2))
    half = vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(half @ cb @ half).clip(min=0)).sum()
    difference = a.mean(0) - b.mean(0)
    return max(0.0, float(difference @ difference + np.trace(ca) + np.trace(cb) - 2 * cross))


def cosine_similarity(first: Tensor, second: Tensor) -> Tensor:
    """(N, D) twice to (N,) in [-1, 1]: CSIM when the features are ArcFace's."""
    check_shape("other features", second, *first.shape)
    return F.cosine_similarity(first, second, dim=1)


def filter_bank(images: Tensor) -> Tensor:
    """The offline features of ``filter_bank_distance``: what a texture looks like at three scales, no learned
    weights.

    Mean, deviation and mean magnitude of colour, gradient and Laplacian over a 4 x 4 grid of cells: (N, 3, H,
    W) to (N, 240).
    """
    check_shape("images", images, "N", 3, "H", "W")
    maps = []
    for scale in (1, 2, 4):
        y = luma(F.avg_pool2d(images, scale) if scale > 1 else images)
        dx, dy = (y[..., 1:, 1:] - y[..., 1:, :-1]).abs(), (y[..., 1:, 1:] - y[..., :-1, 1:]).abs()
        laplacian = (
            4 * y[..., 1:-1, 1:-1]
            - y[..., :-2, 1:-1]
            - y[..., 2:, 1:-1]
            - y[..., 1:-1, :-2]
            - y[..., 1:-1, 2:]
        ).abs()
        maps += [dx, dy, laplacian]
    cells = [F.adaptive_avg_pool2d(m, 4).flatten(1) for m in maps]  # 9 maps of 16 cells
    colour = F.adaptive_avg_pool2d(images, 4)
    spread = (F.adaptive_avg_pool2d(images.square(), 4) - colour.square()).clamp_min(0).sqrt()
    return torch.cat([*cells, colour.flatten(1), spread.flatten(1)], dim=1)


def shape_similarity(first: Tensor, second: Tensor) -> float:
    """The offline stand-in for CSIM: cosine of two identities (A,) of the face model. It sees bones, not
    skin."""
    check_shape("other identity", second, len(first))
    return float(F.cosine_similarity(first[None], second[None])[0])
