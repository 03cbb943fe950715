"""The chin line follows the jaw, and the background that it gives free is filled with background, not smeared
skin."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.compose.masks import lower_face_mask
from personatalk_core.compose.paste_back import paste_back
from personatalk_core.rendering.renderer import Targets, encode_references, load_renderer, render
from personatalk_core.rendering.surface import draw_surface
from personatalk_core.weights.resolver import resolve_weights

SIZE = 256
FRAMES = 11
CHIN = 152  # MediaPipe's number of the chin's lowest vertex
WIDEST, CLOSED = 9, 1  # frames, of a jaw that falls from 0 to 10


@pytest.fixture(scope="module")
def jaw(face_model):
    """pictures (T, 3, 256, 256), points, expression and where the face is (T, 256, 256): skin that slides
    over a striped wall."""
    falls = face_model.expression_basis[: face_model.lower_count, CHIN, 1]
    which = int(falls.abs().argmax())
    expression = torch.zeros(FRAMES, face_model.expression_count)
    expression[:, which] = -falls[which].sign() * torch.linspace(-1.5, 2.5, FRAMES)
    vertices = face_model.mean + torch.einsum("te,evk->tvk", expression, face_model.expression_basis)
    points = vertices * torch.tensor([85.0, -85.0, 85.0]) + torch.tensor([SIZE / 2, SIZE / 2, 0.0])
    x = torch.arange(SIZE, dtype=torch.float32).expand(SIZE, -1)
    wall = torch.stack(
        [0.25 + 0.15 * torch.sin(x / 5), 0.45 + 0.15 * torch.sin(x / 7), torch.full_like(x, 0.55)]
    )
    place = face_model.mean
    red, green = 0.8 + 0.05 * torch.sin(5 * place[:, 0]), 0.6 + 0.05 * torch.cos(6 * place[:, 1])
    skin = torch.stack([red, green, torch.full_like(red, 0.5)], dim=1)
    surface = draw_surface(points, face_model, SIZE)
    pictures = torch.where(surface.face[:, None], surface.interpolate(skin), wall)
    return pictures, points, expression, surface.face


@pytest.mark.parametrize(
    ("shown", "wanted", "most"), [(CLOSED, WIDEST, 0.03), (WIDEST, CLOSED, 0.05)], ids=["opens", "closes"]
)
def test_between_the_old_chin_and_the_new_one_the_true_picture_appears(jaw, face_model, shown, wanted, most):
    pictures, points, expression, face = jaw
    renderer = load_renderer(resolve_weights("renderer").path)
    lip = [i for i in range(FRAMES) if i != wanted]
    near = [shown - 1, shown, shown + 1]
    with torch.inference_mode():
        lips, faces = (
            encode_references(renderer, pictures[rows], points[rows], expression[rows], face_model)
            for rows in (lip, near)
        )
        at = slice(wanted, wanted + 1)
        crop = render(renderer, Targets(points[at], expression[at]), lips, faces, face_model).rgb[0]
    frame = (pictures[shown].permute(1, 2, 0) * 255).round().byte().numpy()
    soft = lower_face_mask(points[shown], points[wanted], face_model, SIZE)
    dubbed = (
        torch.from_numpy(paste_back(frame, crop, soft, torch.tensor([SIZE / 2, SIZE / 2, SIZE]))[0]).permute(
            2, 0, 1
        )
        / 255
    )
    between = face[shown] ^ face[wanted]  # skin that is new, or wall that was behind the chin
    assert int(between.sum()) > 1000
    error, before = (
        (picture - pictures[wanted]).abs().mean(dim=0)[between] for picture in (dubbed, pictures[shown])
    )
    assert float(before.mean()) > 0.2  # the source shows the other thing there
    assert float(error.mean()) < most
    assert float((error > 0.1).float().mean()) < 0.1  # and no old chin line is left standing
