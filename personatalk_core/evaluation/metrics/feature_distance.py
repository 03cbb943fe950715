"""Distances in the space of somebody's features, and the offline features that stand in where no network is
at hand.

FID, LPIPS and CSIM are numbers of particular networks (Inception-v3, VGG or AlexNet with LPIPS' weights,
ArcFace). With a network of the user's (an ONNX file, read by OpenCV) they are computed and called by their
names; without one, a stand-in with a name of its own is reported: ``filter_bank_distance``, ``gmsd``,
``shape_similarity``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...checks import check_shape
from ...errors import ShapeError
from ..judges.onnx_file import read_onnx
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
    half = (
        vectors * np.sqrt(values.clip(min=0)) @ vectors.T
    )  # ca^(1/2); trace((ca cb)^(1/2)) = trace((half cb half)^(1/2))
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


def onnx_features(path: Path, size: int, mean: float = 0.5, scale: float = 2.0) -> Features:
    """Features of a network in an ONNX file.

    Args:
        path:  .onnx of a network that takes (1, 3, size, size) RGB, or a batch of them, and gives one vector
            each.
        size:  pixels of its input: 299 for Inception-v3, 112 for ArcFace.
        mean, scale: the network sees (x - mean) * scale of x in [0, 1].
    Raises:
        WeightsError: the file is missing or OpenCV cannot read it.
    """
    network = read_onnx(path)
    together = [True]  # until a batch comes back as something else: many files are exported for one picture

    def features(images: Tensor) -> Tensor:
        small = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        pictures = ((small - mean) * scale).numpy()
        if together[0] and len(pictures) > 1:
            try:
                network.setInput(pictures)
                found = np.array(network.forward())
                if len(found) == len(pictures):
                    return torch.from_numpy(found).flatten(1)
            except cv2.error:
                pass
            together[0] = False
        rows = []
        for picture in pictures:
            network.setInput(picture[None])
            rows.append(torch.from_numpy(np.array(network.forward())).reshape(-1))
        return torch.stack(rows)

    return features


def shape_similarity(first: Tensor, second: Tensor) -> float:
    """The offline stand-in for CSIM: cosine of two identities (A,) of the face model. It sees bones, not
    skin."""
    check_shape("other identity", second, len(first))
    return float(F.cosine_similarity(first[None], second[None])[0])
