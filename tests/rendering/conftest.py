"""A small talking head drawn from the bundled face model: smooth colours painted on the mesh, known
everywhere."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
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


@pytest.fixture(scope="session")
def real_face(tmp_path_factory, face_model):
    """The sample clip as crops of some size: a function to crops (24, 3, R, R), points and expression of its
    frames, points and expression of two targets with the mouths of other frames, and the masks of a dub."""
    from personatalk_core import pipeline
    from personatalk_core.compose.crop import LANCZOS, CropBoxes, crop_boxes, crop_image, crop_points
    from personatalk_core.compose.masks import lower_face_mask
    from personatalk_core.config import DubOptions
    from personatalk_core.dubbing.run import Run
    from personatalk_core.geometry.vertices import posed_vertices
    from personatalk_core.media.array_files import write_frames
    from personatalk_core.media.video_reader import probe
    from personatalk_core.models import load_models
    from personatalk_core.samples.demo import sample_frames

    pictures, options = sample_frames()[:24], DubOptions(device="cpu")
    video = write_frames(tmp_path_factory.mktemp("clip") / "clip.mp4", pictures, 24, 15)
    models = load_models(options, parts=("renderer",))
    geometry = pipeline.estimate_geometry(probe(video), Run(models, options))
    boxes, target = crop_boxes(geometry, face_model), geometry[[10, 12]]
    expression = target.expression.clone()
    lower = face_model.lower_count
    expression[:, :lower] = geometry.expression[[2, 20], :lower]
    target = replace(target, expression=expression)

    def at(size: int) -> tuple[Tensor, ...]:
        crops = np.stack([crop_image(f, b, size, LANCZOS) for f, b in zip(pictures, boxes.box, strict=True)])
        crops = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
        points = crop_points(posed_vertices(geometry, face_model), boxes, size)
        moved = crop_points(posed_vertices(target, face_model), CropBoxes(boxes.box[[10, 12]]), size)
        soft = [lower_face_mask(points[i], moved[k], face_model, size) for k, i in enumerate((10, 12))]
        return crops, points, geometry.expression, moved, expression, torch.stack(soft)

    return at
