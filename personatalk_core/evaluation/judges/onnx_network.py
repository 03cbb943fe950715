"""Networks of the user's in ONNX files, run by onnxruntime: features of pictures, and a distance of two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import DependencyError, WeightsError
from ..metrics.feature_distance import Features


def load_onnx(path: Path) -> Any:
    """An onnxruntime session on the CPU.

    Raises:
        WeightsError: the file is missing or no network.  DependencyError: onnxruntime is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path} does not exist; expected a network in ONNX format there.")
    try:
        import onnxruntime
    except ImportError as error:
        raise DependencyError(
            f"{path} needs onnxruntime; install it with 'pip install onnxruntime'."
        ) from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what is wrong is said below
    try:
        return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base of their own
        raise WeightsError(
            f"{path} cannot be read as ONNX ({str(error).strip()[:120]}); export the network again."
        ) from error


def onnx_features(path: Path, size: int, mean: float = 0.5, scale: float = 2.0) -> Features:
    """Features of a network in an ONNX file.

    Args:
        path:        .onnx of a network that takes (1, 3, size, size) RGB, or a batch of them, and gives one
            vector each.
        size:        pixels of its input: 299 for Inception-v3, 112 for ArcFace.
        mean, scale: the network sees (x - mean) * scale of x in [0, 1].
    Raises:
        WeightsError: the file is missing or no network.  DependencyError: onnxruntime is missing.
    """
    session = load_onnx(path)
    entry = session.get_inputs()[0]
    one_by_one = entry.shape[0] == 1  # many files are exported for one picture

    def features(images: Tensor) -> Tensor:
        small = F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)
        batches = ((small - mean) * scale).split(1 if one_by_one else len(images))
        rows = [torch.from_numpy(session.run(None, {entry.name: batch.numpy()})[0]) for batch in batches]
        return torch.cat([row.flatten(1) for row in rows])

    return features


def onnx_distance(path: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """A distance by a network of two inputs, each (1, 3, H, W) in [-1, 1], taken in the order of the file.

    Returns:
        A function of two batches (N, 3, H, W) in [0, 1] that gives (N,).
    Raises:
        WeightsError: the file is missing, no network, or takes another number of inputs.
        DependencyError: onnxruntime is missing.
    """
    session = load_onnx(path)
    names = [entry.name for entry in session.get_inputs()]
    if len(names) != 2:
        raise WeightsError(
            f"{path} takes {len(names)} inputs but a distance needs two pictures; export LPIPS with both."
        )

    def distance(first: Tensor, second: Tensor) -> Tensor:
        rows = []
        for pair in zip(first, second, strict=True):
            pictures = {name: (2 * x[None] - 1).numpy() for name, x in zip(names, pair, strict=True)}
            rows.append(float(session.run(None, pictures)[0].reshape(-1)[0]))
        return torch.tensor(rows)

    return distance
