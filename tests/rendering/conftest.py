"""A small talking head drawn from the bundled face model: smooth colours painted on the mesh, known
everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from personatalk_core.geometry.face_model import FaceModel, load_face_model
from personatalk_core.rendering.surface import draw_surface, pixel_centres

SIZE = 256


@dataclass(frozen=True, eq=False)
class PaintedClip:
    """crops (T, 3, 256, 256); points (T, V, 3); expression (T, E): a painted head that turns, shifts and
    talks."""

    crops: Tensor
    points: Tensor
    expression: Tensor


def head_points(face_model: FaceModel, expression: Tensor, angle: Tensor, shift: Tensor) -> Tensor:
    """(T, V, 3) crop pixels of heads turned by ``angle`` (T,) radians about the vertical and moved by
    ``shift`` (T, 2) pixels."""
    vertices = face_model.mean + torch.einsum("te,evk->tvk", expression, face_model.expression_basis)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    x, y, z = vertices.unbind(dim=-1)
    scale = 85.0
    turned = torch.stack([cos * x + sin * z, -y, -sin * x + cos * z], dim=-1) * scale
    turned[..., :2] += SIZE / 2 + shift[:, None]
    return turned


def painted_clip(face_model: FaceModel, frames: int = 12, seed: int = 0) -> PaintedClip:
    """Every vertex keeps its colour, so the true picture of any geometry is known."""
    generator = torch.Generator().manual_seed(seed)
    expression = torch.zeros(frames, face_model.expression_count)
    expression[:, :3] = torch.randn(frames, 3, generator=generator)
    angle = torch.linspace(-0.25, 0.25, frames)
    shift = torch.randn(frames, 2, generator=generator) * 2.0
    points = head_points(face_model, expression, angle, shift)
    return PaintedClip(paint(face_model, points), points, expression)


def paint(face_model: FaceModel, points: Tensor) -> Tensor:
    """(T, 3, 256, 256): smooth colours on the mesh over a grey slope."""
    place = face_model.mean
    colour = torch.stack(
        [
            0.5 + 0.3 * torch.sin(3 * place[:, 0]),
            0.5 + 0.3 * torch.cos(4 * place[:, 1]),
            0.4 + 0.2 * place[:, 2],
        ],
        dim=1,
    )
    background = (pixel_centres(SIZE, SIZE, points.device) / SIZE).mean(dim=0, keepdim=True).expand(
        3, -1, -1
    ) * 0.5
    surface = draw_surface(points, face_model, SIZE)
    return torch.where(surface.mesh[:, None], surface.interpolate(colour.clamp(0, 1)), background)


@pytest.fixture(scope="session")
def face_model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="session")
def clip(face_model) -> PaintedClip:
    return painted_clip(face_model)
