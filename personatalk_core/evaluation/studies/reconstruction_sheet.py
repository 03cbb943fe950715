"""What a person looks at: source, output and difference at the crop's own size, and the mouths enlarged
beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional as F

from ...geometry.face_model import FaceModel
from .reconstructed_clip import Reconstruction

SHOWN = 6  # frames a sheet
MOUTH_REACH = 0.75  # of the mouth's width, shown on every side of its middle
DIFFERENCE_GAIN = 4.0


def write_reconstruction_sheet(
    path: Path, frames: Sequence[Reconstruction], face_model: FaceModel, shown: int = SHOWN
) -> None:
    """Write a PNG: one row a frame, chosen evenly over the mouth's opening; columns source, output,
    difference x 4, both mouths."""
    order = sorted(range(len(frames)), key=lambda k: float(frames[k].opening))
    picked = sorted({order[int(k)] for k in torch.linspace(0, len(order) - 1, shown).round()})
    rows = [_row(frames[k], face_model) for k in picked]
    picture = (torch.cat(rows, dim=1).clamp(0, 1) * 255).round().byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.ascontiguousarray(rearrange(picture, "c h w -> h w c").numpy()[..., ::-1]))


def _row(item: Reconstruction, face_model: FaceModel) -> Tensor:
    """(3, R, 5 R)."""
    size = item.truth.shape[-1]
    difference = (item.image - item.truth).abs() * DIFFERENCE_GAIN
    mouths = [_mouth(picture, item.points[face_model.lips, :2], size) for picture in (item.truth, item.image)]
    return torch.cat([item.truth, item.image, difference, *mouths], dim=2)


def _mouth(picture: Tensor, lips: Tensor, size: int) -> Tensor:
    """The mouth of (3, R, R), enlarged to (3, R, R); lips (K, 2) in pixels."""
    middle, half = lips.mean(dim=0), MOUTH_REACH * float(lips[:, 0].amax() - lips[:, 0].amin())
    half = int(min(half, size / 2))
    left, top = (int(min(max(float(c) - half, 0), size - 2 * half)) for c in middle)
    cut = picture[:, top : top + 2 * half, left : left + 2 * half]
    return F.interpolate(cut[None], (size, size), mode="bicubic", align_corners=False)[0]
