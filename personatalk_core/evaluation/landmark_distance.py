"""LMD: how far the lips of an output are from where they should be (paper 4.2, lip-sync accuracy)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..checks import check_shape
from ..geometry.face_model import FaceModel


def lip_landmarks(points: Tensor, face_model: FaceModel) -> Tensor:
    """The two lip rings of posed vertices: (T, V, 3) to (T, K, 2), x and y in the unit of the points."""
    check_shape("points", points, "T", face_model.vertex_count, 3)
    return points[:, torch.cat([face_model.outer_lips, face_model.inner_lips]), :2]


def landmark_distance(output: Tensor, reference: Tensor) -> Tensor:
    """Mean distance of lip landmarks after their centres are laid on each other, so that head motion does not count.

    Paper: 4.2 (LMD, after Guan et al. 2023). Protocol here: pixels of a 256 x 256 crop whose face is 62 % of its height.
    Args:
        output, reference: (T, K, 2).
    Returns:
        (T,) in the unit of the landmarks; 0 where the lips have the same shape.
    """
    axes = check_shape("output landmarks", output, "T", "K", 2)
    check_shape("reference landmarks", reference, axes["T"], axes["K"], 2)
    first, second = (x - x.mean(dim=1, keepdim=True) for x in (output, reference))
    return (first - second).norm(dim=-1).mean(dim=-1)
