"""The mesh carries pixels to sub-pixel accuracy, and what was not seen is known."""

from __future__ import annotations

import torch

from personatalk_core.rendering.regions import surface_depth, vertex_normals, vertex_visibility
from personatalk_core.rendering.surface import (
    corresponding_positions,
    draw_surface,
    pixel_centres,
    sample_at,
)

SIZE = 256


def test_a_geometry_corresponds_to_itself(clip, face_model):
    surface = draw_surface(clip.points[:1], face_model, SIZE)[0]
    positions, seen = corresponding_positions(
        surface, clip.points[:1], torch.ones(1, face_model.vertex_count)
    )
    assert float((positions[0] - pixel_centres(SIZE, SIZE, positions.device)).abs().max()) < 0.02
    assert float((seen - 1).abs().max()) < 1e-4
    assert float((sample_at(clip.crops[:1], positions) - clip.crops[:1]).abs().max()) < 0.02


def test_vertex_values_are_read_by_their_weights(clip, face_model):
    surface = draw_surface(clip.points[:2], face_model, SIZE)
    shared, each = torch.rand(face_model.vertex_count, 5), torch.rand(2, face_model.vertex_count, 5)
    for values in (shared.expand(2, -1, -1), each):
        corners = torch.stack(
            [rows[index.long()] for rows, index in zip(values, surface.vertex, strict=True)]
        )
        slow = torch.einsum("bhwck,bhwc->bkhw", corners, surface.weight)
        assert torch.allclose(surface.interpolate(values), slow, atol=1e-6)
    assert torch.equal(surface.interpolate(shared), surface.interpolate(shared.expand(2, -1, -1)))


def test_a_warped_reference_shows_the_target(clip, face_model):
    surface = draw_surface(clip.points[5:6], face_model, SIZE)[0]
    positions, _seen = corresponding_positions(
        surface, clip.points[6:7], torch.ones(1, face_model.vertex_count)
    )
    warped = sample_at(clip.crops[6:7], positions)[0]
    error = (warped - clip.crops[5]).abs().mean(dim=0)[surface.face]
    unwarped = (clip.crops[6] - clip.crops[5]).abs().mean(dim=0)[surface.face]
    assert float(error.mean()) < 0.2 * float(unwarped.mean())


def test_a_turned_head_hides_its_far_side(face_model, clip):
    angle = torch.tensor([0.9])
    x, y, z = face_model.mean.unbind(dim=-1)
    turned = (
        torch.stack([angle.cos() * x + angle.sin() * z, -y, -angle.sin() * x + angle.cos() * z], dim=-1)[None]
        * 85.0
    )
    turned[..., :2] += SIZE / 2
    depth = draw_surface(turned, face_model, SIZE).depth
    seen = vertex_visibility(turned, depth, face_model)[0]
    cheeks = {"right": 234, "left": 454}  # ends of the face oval at the ears
    ordered = sorted(cheeks.values(), key=lambda v: float(turned[0, v, 2]))
    assert float(seen[ordered[0]]) == 0.0 and float(seen[ordered[1]]) > 0.3
    straight = vertex_visibility(
        clip.points[6:7], draw_surface(clip.points[6:7], face_model, SIZE).depth, face_model
    )[0]
    assert float(straight[4]) > 0.9  # the tip of the nose


def test_vertices_outside_the_crop_are_not_seen(clip, face_model):
    moved = clip.points[:1].clone()
    moved[..., 0] += SIZE / 2
    seen = vertex_visibility(moved, draw_surface(moved, face_model, SIZE).depth, face_model)
    assert float(seen[moved[..., 0] > SIZE].max()) == 0.0


def test_normals_of_a_frontal_face_point_at_the_viewer(face_model):
    points = (face_model.mean * torch.tensor([85.0, -85.0, 85.0]))[None]
    normal = vertex_normals(points, face_model.triangles)[0]
    assert float(normal[4, 2]) > 0.5 and torch.allclose(
        normal.norm(dim=1), torch.ones(len(normal)), atol=1e-4
    )


def test_surface_depth_is_the_farthest_of_the_pixels_around(clip, face_model):
    """The slow twin pools the whole depth map."""
    points = clip.points[3:5].clone()
    points[1, :, 0] += 140  # partly outside
    depth = draw_surface(points, face_model, SIZE).depth
    filled = depth[:, None].clamp_min(-1e4)
    nearest = torch.nn.functional.max_pool2d(filled, 3, stride=1, padding=1)
    farthest = -torch.nn.functional.max_pool2d(-filled, 3, stride=1, padding=1)
    grid = (points[..., :2] * (2.0 / SIZE) - 1.0)[:, :, None]
    slow = torch.nn.functional.grid_sample(
        torch.where(farthest > -1e4, farthest, nearest), grid, mode="nearest", align_corners=False
    )
    assert torch.equal(surface_depth(points, depth), slow[:, 0, :, 0])
