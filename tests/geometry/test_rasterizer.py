"""The rasteriser against a slow per-pixel twin, and answers known without it."""

import math
from fractions import Fraction

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.geometry.rasterizer import DEPTH_STEPS, SUBPIXELS, rasterize


def rasterize_slowly(points, triangles, size):
    """One frame (V, 3): every triangle at every pixel, exact rational edge functions, float64 depth."""
    height, width = size
    winner = torch.full(size, -1)
    weights = torch.zeros(3, height, width)
    nearest = torch.full(size, -math.inf)
    snap = [[Fraction(round(float(v) * SUBPIXELS), SUBPIXELS) for v in p[:2]] for p in points]
    for row in range(height):
        for column in range(width):
            best = None
            px, py = column + Fraction(1, 2), row + Fraction(1, 2)
            for number, corners in enumerate(triangles.tolist()):
                p = [snap[c] for c in corners]
                area = (p[1][0] - p[0][0]) * (p[2][1] - p[0][1]) - (p[1][1] - p[0][1]) * (p[2][0] - p[0][0])
                if area == 0:
                    continue
                values = []
                inside = True
                for k in range(3):  # edge opposite vertex k
                    a, b = p[(k + 1) % 3], p[(k + 2) % 3]
                    if area < 0:
                        a, b = b, a
                    value = (b[0] - a[0]) * (py - a[1]) - (b[1] - a[1]) * (px - a[0])
                    dx, dy = b[0] - a[0], b[1] - a[1]
                    owns = dy < 0 or (dy == 0 and dx > 0)
                    inside &= value > 0 or (value == 0 and owns)
                    values.append(float(value / abs(area)))
                if inside:
                    depth = sum(w * float(points[c, 2]) for w, c in zip(values, corners, strict=True))
                    key = (math.floor(depth * DEPTH_STEPS), -number)
                    if best is None or key > best[0]:
                        best = (key, number, values, depth)
            if best:
                winner[row, column], nearest[row, column] = best[1], best[3]
                weights[:, row, column] = torch.tensor(best[2])
    return winner, weights, nearest


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_twin_on_random_triangles(seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, 18, 3, generator=generator) * torch.tensor([34.0, 26.0, 9.0]) - 4
    points[:, :6] = points[:, :6].round() / 2  # many vertices on pixel centres and edges
    triangles = torch.randint(0, 18, (16, 3), generator=generator)
    triangle, barycentric, depth = rasterize(points, triangles, (17, 23))
    for t in range(2):
        winner, weights, nearest = rasterize_slowly(points[t], triangles, (17, 23))
        assert torch.equal(triangle[t], winner)
        torch.testing.assert_close(barycentric[t], weights, atol=1e-5, rtol=0)  # single precision
        torch.testing.assert_close(depth[t], nearest, atol=1e-4, rtol=0)


def test_shared_edges_leave_no_gap_and_no_overlap():
    points = torch.tensor([[[2.5, 2.5, 0.0], [12.5, 2.5, 0], [12.5, 9.5, 0], [2.5, 9.5, 0]]])
    whole = torch.zeros(12, 15, dtype=torch.int64)
    for faces in ([[0, 1, 2]], [[0, 2, 3]]):
        whole += rasterize(points, torch.tensor(faces), (12, 15))[0][0] >= 0
    expected = torch.zeros_like(whole)
    expected[2:9, 2:12] = 1  # top and left edges belong to the square, bottom and right do not
    assert torch.equal(whole, expected)


def test_nearer_wins_and_equal_depth_goes_to_the_first():
    square = [[0.0, 0], [8, 0], [0, 8]]
    near = torch.tensor(
        [[*[[*p, 1.0] for p in square], *[[*p, 2.0] for p in square], *[[*p, 2.0] for p in square]]]
    )
    triangle, _, depth = rasterize(near, torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8]]), (8, 8))
    assert triangle[0, 1, 1] == 1
    assert depth[0, 1, 1] == 2.0
    assert triangle[0, 7, 7] == -1
    assert depth[0, 7, 7] == -math.inf


def test_chunks_and_orientation_change_nothing(monkeypatch):
    import personatalk_core.geometry.rasterizer as module

    points = torch.rand(7, 12, 3, generator=torch.Generator().manual_seed(3)) * 30
    triangles = torch.arange(12).reshape(4, 3)
    whole = rasterize(points, triangles, (32, 32))
    monkeypatch.setattr(module, "PIXELS_AT_ONCE", 2 * 32 * 32)
    for a, b in zip(whole, rasterize(points, triangles, (32, 32)), strict=True):
        assert torch.equal(a, b)
    turned = rasterize(points, triangles[:, [0, 2, 1]], (32, 32))
    assert torch.equal(whole[0], turned[0])
    torch.testing.assert_close(whole[1], turned[1][:, [0, 2, 1]], atol=1e-5, rtol=0)  # single precision


def test_nothing_to_draw():
    assert rasterize(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]), (4, 5))[0].shape == (0, 4, 5)
    outside = rasterize(torch.full((1, 3, 3), 900.0), torch.tensor([[0, 1, 2]]), (4, 5))
    assert int(outside[0].max()) == -1
    assert float(outside[1].abs().max()) == 0


@pytest.mark.parametrize(
    ("points", "size", "words"),
    [
        (torch.full((1, 3, 3), float("nan")), (4, 4), "non-finite"),
        (torch.zeros(1, 3, 3), (0, 4), "at least 1"),
        (torch.full((1, 3, 3), 1e9), (4, 4), "at most"),
    ],
)
def test_refuses_what_it_cannot_draw(points, size, words):
    with pytest.raises(ShapeError, match=words):
        rasterize(points, torch.tensor([[0, 1, 2]]), size)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_draws_what_the_cpu_draws():
    from personatalk_core.geometry.camera import project
    from personatalk_core.geometry.face_model import load_face_model
    from personatalk_core.geometry.pncc import draw_pncc

    model = load_face_model()
    turns = torch.tensor([[0.0, 0.0, 0.0], [0.25, 0.6, 0.0], [-0.2, -0.5, 0.1]])
    points = project(model.mean.expand(3, -1, -1), turns, torch.full((3, 2), 128.0), torch.full((3,), 100.0))
    for ours, theirs in zip(
        rasterize(points, model.triangles, (256, 256)),
        rasterize(points.cuda(), model.triangles.cuda(), (256, 256)),
        strict=True,
    ):
        torch.testing.assert_close(theirs.cpu(), ours, atol=1e-5, rtol=0)
    here, there = draw_pncc(points, model, (256, 256)), draw_pncc(points.cuda(), model.to("cuda"), (256, 256))
    torch.testing.assert_close(there.map.cpu(), here.map, atol=1e-5, rtol=0)
    assert torch.equal(there.triangle.cpu(), here.triangle)
