"""A talking face made of nothing: smooth random coefficients and coloured noise for skin, for timings and
tests without media."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ...config import CROP_SIZE, MODEL_FPS
from ...geometry.camera import project
from ...geometry.face_model import FaceModel
from ...geometry.vertices import shape_vertices
from ...types import FaceGeometry

FACE_SHARE = 0.62  # of the picture's side, as the crops of the pipeline have it


@dataclass(frozen=True, eq=False)
class SyntheticClip:
    """geometry of T frames in a size x size picture; points (T, V, 3) its vertices in pixels; pixels (T, 3,
    size, size) in [0, 1]."""

    geometry: FaceGeometry
    points: Tensor
    pixels: Tensor


def synthetic_geometry(
    face_model: FaceModel, frames: int, size: int = CROP_SIZE, seed: int = 0
) -> FaceGeometry:
    """A mean person whose head and mouth wander smoothly at 25 fps, within a standard deviation and about 10
    degrees."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(frames + 8, face_model.expression_count + 3, generator=generator)
    smooth = F.avg_pool1d(noise.T[None], 9, stride=1)[0].T * 3.0  # (T, E + 3), about unit deviation
    height = float(face_model.mean[:, 1].max() - face_model.mean[:, 1].min())
    times = torch.arange(frames) / MODEL_FPS
    return FaceGeometry(
        identity=torch.zeros(face_model.identity_count),
        expression=0.7 * smooth[:, 3:],
        rotation=0.08 * smooth[:, :3],
        translation=torch.full((frames, 2), size / 2.0),
        scale=torch.full((frames,), FACE_SHARE * size / height),
        status=torch.zeros(frames, dtype=torch.uint8),
        shot=torch.zeros(frames, dtype=torch.int64),
        source_frame=torch.arange(frames),
        times=times,
        durations=torch.full((frames,), 1.0 / MODEL_FPS),
        frame_size=(size, size),
        face_model=face_model.sha256,
    )


def synthetic_clip(face_model: FaceModel, frames: int, size: int = CROP_SIZE, seed: int = 0) -> SyntheticClip:
    """The same with pixels: blurred coloured noise that does not follow the face."""
    geometry = synthetic_geometry(face_model, frames, size, seed)
    vertices = shape_vertices(geometry.identity, geometry.expression, face_model)
    points = project(vertices, geometry.rotation, geometry.translation, geometry.scale)
    coarse = torch.rand(frames, 3, size // 8, size // 8, generator=torch.Generator().manual_seed(seed + 1))
    return SyntheticClip(geometry, points, F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1))
