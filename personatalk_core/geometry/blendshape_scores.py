"""Expression coefficients as named ARKit scores, and files of them that animation tools read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import torch
from torch import Tensor

from ..checks import check_shape
from ..errors import ShapeError
from ..types import FaceGeometry
from ..weights.checkpoint import write_atomically
from .camera import rotation_matrix
from .face_model import FaceModel

STEPS = 300
RIDGE = 0.05  # of the mean squared length of a direction: prefers few small scores among those that look alike


def blendshape_scores(expression: Tensor, face_model: FaceModel) -> tuple[Tensor, tuple[str, ...]]:
    """The scores in [0, 1] whose named directions come nearest to the expression.

    Args:
        expression: (T, E).
    Returns:
        scores (T, N) and their names; MediaPipe's ``_neutral`` is left out.
    Raises:
        ShapeError: the face model has no named directions, or the width is not its own.
    """
    check_shape("expression", expression, "T", face_model.expression_count)
    keep = [k for k, name in enumerate(face_model.direction_names) if not name.startswith("_")]
    if not keep:
        raise ShapeError("this face model has no named expression directions, so there are no scores; use the bundled face model.")
    directions = face_model.directions[keep].double()
    gram = directions @ directions.T
    gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(keep), dtype=gram.dtype)
    right = expression.double() @ directions.T
    step = 1 / torch.linalg.matrix_norm(gram, 2)
    scores = momentum = torch.zeros_like(right)
    for k in range(STEPS):  # projected gradient with Nesterov's momentum
        following = (momentum - step * (momentum @ gram - right)).clamp(0, 1)
        momentum = following + k / (k + 3) * (following - scores)
        scores = following
    return scores.float(), tuple(face_model.direction_names[k] for k in keep)


def head_angles(geometry: FaceGeometry) -> Tensor:
    """(T, 3) yaw, pitch, roll in radians: looking to the image's right, up, and leaning to the image's right are positive."""
    rotation = rotation_matrix(geometry.rotation)
    yaw = torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = torch.asin(rotation[:, 1, 2].clamp(-1, 1))
    roll = torch.atan2(-rotation[:, 1, 0], rotation[:, 1, 1])
    return torch.stack([yaw, pitch, roll], 1)


def write_arkit_csv(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> None:
    """One row a frame: Timecode in seconds, BlendShapeCount, the scores under ARKit's names, HeadYaw, HeadPitch, HeadRoll."""
    scores, names = blendshape_scores(geometry.expression, face_model)
    angles = head_angles(geometry)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [name[0].upper() + name[1:] for name in names]
    writer.writerow(["Timecode", "BlendShapeCount", *titles, "HeadYaw", "HeadPitch", "HeadRoll"])
    for t in range(geometry.frame_count):
        values = [f"{float(v):.6f}" for v in (*scores[t], *angles[t])]
        writer.writerow([f"{float(geometry.times[t]):.6f}", len(names) + 3, *values])
    write_atomically(Path(path), text.getvalue().encode())


def write_live_link_json(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> None:
    """Live-Link-style frames: time, blendShapes by name, head as yaw, pitch and roll in radians."""
    scores, names = blendshape_scores(geometry.expression, face_model)
    angles = head_angles(geometry)
    frames = [
        {
            "time": round(float(geometry.times[t]), 6),
            "blendShapes": {name: round(float(score), 6) for name, score in zip(names, scores[t], strict=True)},
            "head": dict(zip(("yaw", "pitch", "roll"), (round(float(v), 6) for v in angles[t]), strict=True)),
        }
        for t in range(geometry.frame_count)
    ]
    write_atomically(Path(path), json.dumps({"version": 1, "names": list(names), "frames": frames}).encode())
