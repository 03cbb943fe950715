"""Contact sheets: what a person looks at while a network trains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor


def write_sheet(path: Path, rows: Sequence[Tensor]) -> None:
    """Write rows of pictures as one PNG: each row (K, H, W, 3) in [0, 1], all of one shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = rearrange(torch.stack(list(rows)), "r k h w c -> (r h) (k w) c")
    pixels = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
    cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))
