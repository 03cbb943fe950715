"""Small pictures of chosen frames, as IMAGE and for the strip on the node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .media_sockets import temporary, view_of

if TYPE_CHECKING:
    import torch


def as_image(crops: np.ndarray) -> torch.Tensor:
    """(N, S, S, 3) uint8 as an IMAGE."""
    import torch

    return torch.from_numpy(crops).float() / 255.0


def strip_ui(crops: np.ndarray, frames: list[int], options) -> dict:
    """One JPEG a frame in the temporary folder, with its number and whether it is pinned."""
    from PIL import Image

    pictures = []
    for crop, frame in zip(crops, frames, strict=True):
        path = temporary(".jpg")
        Image.fromarray(crop).save(path, quality=85)
        pictures.append({"frame": frame, "pinned": frame in options.pin, "picture": view_of(path)})
    return {"personatalk_references": pictures, "personatalk_excluded": list(options.exclude)}
