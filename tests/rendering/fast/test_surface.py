"""Meshes drawn and read in rectangles equal whole ones, and the fast readings equal the plain ones."""

from __future__ import annotations

import torch

from personatalk_core.geometry.rasterizer import rasterize
from personatalk_core.geometry.topology import cavity_walls
from personatalk_core.rendering import surface as plain
from personatalk_core.rendering.fast.surface import (
    corresponding_positions,
    draw_surface,
    geometry_map,
    interpolate,
    planes,
)
from personatalk_core.rendering.fast.window import Window, bounding_window

SIZE = 256


def test_drawing_reading_and_correspondence_equal_their_plain_twins(clip, face_model):
    fast, slow = (
        draw_surface(clip.points[:2], face_model, SIZE),
        plain.draw_surface(clip.points[:2], face_model, SIZE),
    )
    assert torch.equal(fast.vertex[fast.mesh], slow.vertex[fast.mesh])
    for name in ("weight", "mesh", "face", "cavity"):
        assert torch.equal(getattr(fast, name), getattr(slow, name))
    window = Window(80, 160, 60, 200)
    for values in (torch.rand(face_model.vertex_count, 5), torch.rand(2, face_model.vertex_count, 5)):
        assert torch.equal(interpolate(slow, values, window), window.cut(slow.interpolate(values)))
    assert torch.allclose(geometry_map(slow, face_model), plain.geometry_map(slow, face_model), atol=1e-6)
    points, visibility = (
        clip.points[None, 2:5].expand(2, -1, -1, -1),
        torch.rand(2, 3, face_model.vertex_count),
    )
    found, expected = (
        twin(slow, points, visibility) for twin in (corresponding_positions, plain.corresponding_positions)
    )
    assert torch.allclose(found[0], expected[0], atol=1e-3) and torch.allclose(
        found[1], expected[1], atol=1e-5
    )


def test_channels_become_planes():
    images = torch.rand(2, 5, 3, 8, 9).contiguous()
    interleaved = images.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    assert torch.equal(planes(interleaved), images) and planes(interleaved).is_contiguous()


def test_windows_equal_the_whole(clip, face_model):
    surface = draw_surface(clip.points[:1], face_model, SIZE)[0]
    visibility = torch.rand(2, face_model.vertex_count)
    window = Window(80, 160, 60, 200)
    whole = corresponding_positions(surface, clip.points[1:3], visibility)
    part = corresponding_positions(surface, clip.points[1:3], visibility, window)
    for big, small in zip(whole, part, strict=True):
        assert torch.equal(window.cut(big), small)


def test_windows_bound_grow_and_meet():
    mask = torch.zeros(32, 40, dtype=torch.bool)
    mask[9:13, 6:21] = True
    window = bounding_window(mask, 4)
    assert window == Window(8, 16, 4, 24) and window.size == (8, 20)
    assert window.grown(6, 32, 40) == Window(2, 22, 0, 30)
    assert window.intersection(Window(10, 30, 0, 8)) == Window(10, 16, 4, 8)
    assert window.intersection(Window(20, 30, 0, 8)).size == (0, 4)
    assert bounding_window(mask & False) == Window(0, 0, 0, 0)


def test_meshes_are_drawn_alike_wherever_they_lie(clip, face_model):
    """Only the rectangle that meshes reach is drawn; beyond the crop's borders nothing is."""
    far = clip.points[:2] + torch.tensor([[[40.0, -30.0, 0.0]], [[-90.0, 160.0, 0.0]]])
    triangles = torch.cat([face_model.triangles, cavity_walls(face_model).triangles])
    both, gone = draw_surface(far, face_model, SIZE), draw_surface(far + 900.0, face_model, SIZE)
    for k in range(2):
        triangle, weight, depth = rasterize(far[k : k + 1], triangles, (SIZE, SIZE))
        assert torch.equal(both.mesh[k], triangle[0] >= 0) and bool(both.mesh[k].any())
        assert torch.allclose(both.weight[k].permute(2, 0, 1), weight[0], atol=1e-5)
        seen = both.mesh[k]
        assert torch.allclose(both.depth[k][seen], depth[0][seen], atol=1e-3) and bool(
            torch.isneginf(both.depth[k][~seen]).all()
        )
    assert not bool(gone.mesh.any()) and gone.vertex.shape == (2, SIZE, SIZE, 3)
    assert draw_surface(far[:0], face_model, SIZE).mesh.shape == (0, SIZE, SIZE)
