"""Frames on several cores give what they give one after the other, and leave torch's settings as they
were."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from personatalk_core.compose.masks import lower_face_mask
from personatalk_core.rendering.frame_threads import over_frames
from personatalk_core.rendering.regions import vertex_visibility
from personatalk_core.rendering.renderer import geometry_map, load_renderer
from personatalk_core.rendering.surface import draw_surface
from personatalk_core.weights.resolver import resolve_weights

CPU = torch.device("cpu")


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_keep_their_order_and_each_thread_works_alone(threads):
    seen = []

    def work(frames: range):
        seen.append((threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return [10 * k for k in frames]

    with torch.inference_mode():
        assert over_frames(work, 7, CPU) == [0, 10, 20, 30, 40, 50, 60]
    assert torch.get_num_threads() == threads and all(row[1:] == (1, True) for row in seen)
    assert len(seen) == threads and threading.get_ident() in {row[0] for row in seen}
    assert (len({row[0] for row in seen}) > 1) == (threads > 1)


def test_training_stays_in_the_callers_thread(threads):
    def work(frames: range):
        assert torch.is_grad_enabled() and torch.get_num_threads() == threads
        return list(frames)

    assert over_frames(work, 3, CPU) == [0, 1, 2]


def test_a_cancel_in_the_callers_thread_ends_the_others_after_their_frame():
    before, done, begun = torch.get_num_threads(), [], threading.Event()

    def work(frames: range):
        for k in frames:
            if 0 in frames:
                begun.wait(10)
                raise KeyboardInterrupt
            begun.set()
            time.sleep(0.05)
            done.append(k)
            yield k

    torch.set_num_threads(2)
    try:
        with torch.no_grad(), pytest.raises(KeyboardInterrupt):
            over_frames(work, 200, CPU)
    finally:
        torch.set_num_threads(before)
    assert len(done) < 50  # of 100


def test_an_error_in_a_thread_reaches_the_caller(threads):
    def work(frames: range):
        if 4 in frames:
            raise ValueError("frame 4")
        return list(frames)

    with torch.no_grad(), pytest.raises(ValueError, match="frame 4"):
        over_frames(work, 5, CPU)
    assert torch.get_num_threads() == threads


def test_the_number_of_cores_changes_nothing_seen_and_the_same_number_no_bit(clip, face_model):
    renderer, before, pictures = load_renderer(resolve_weights("renderer").path), torch.get_num_threads(), []
    soft = torch.stack([lower_face_mask(points, points, face_model, 256) for points in clip.points[5:8]])
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            with torch.inference_mode():
                lip, face = (
                    renderer.encode_references(clip.crops[i], clip.points[i], clip.expression[i], face_model)
                    for i in ([0, 2, 4, 8, 10], [4, 6, 7])
                )
                out = renderer.render(
                    clip.points[5:8], clip.expression[5:8], lip, face, face_model, wanted=soft > 0
                )
            pictures.append(out.rgb)
    finally:
        torch.set_num_threads(before)
    assert float(((pictures[0] - pictures[1]).abs() * (soft > 0)[:, None]).max()) < 1e-4 and torch.equal(
        pictures[1], pictures[2]
    )


def test_references_encoded_near_their_mesh_equal_whole_ones_there(clip, face_model):
    renderer, rows = load_renderer(resolve_weights("renderer").path), [1, 6]
    crops, points, expression = clip.crops[rows], clip.points[rows], clip.expression[rows]
    surface = draw_surface(points, face_model, 256)
    geometry = geometry_map(surface, face_model)
    seen = vertex_visibility(points, surface.depth, face_model)
    near = renderer.encode_references(crops, points, expression, face_model)
    whole = renderer.encode_drawn(crops, points, expression, geometry, seen, face_model)
    drawn = torch.nn.functional.max_pool2d(surface.mesh[:, None].float(), 4) > 0  # (N, 1, 64, 64)
    for name in ("lip_key_value", "face_key_value"):
        fast, slow = getattr(near, name), getattr(whole, name)
        assert float(((fast - slow).abs() * drawn).max()) < 1e-4
        assert (
            float(fast[:, :, 0].abs().max()) == 0.0 and float(slow[:, :, 0].abs().max()) > 0
        )  # the rest was left out
    for name in ("pncc", "seen", "shape", "pose", "strength", "pixels"):
        assert torch.allclose(getattr(near, name), getattr(whole, name), atol=1e-5)
