"""Frames on several cores give what they give one after the other, and leave torch's settings as they
were."""

from __future__ import annotations

import threading
import time
from itertools import chain

import pytest
import torch

from personatalk_core.compose.masks import lower_face_mask
from personatalk_core.rendering.fast.cpu_chunks import map_chunks
from personatalk_core.rendering.renderer import Targets, encode_references, load_renderer, render
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

    def work(chunk: range):
        seen.append((threading.get_ident(), torch.get_num_threads(), torch.is_inference_mode_enabled()))
        return [10 * k for k in range(chunk.start, chunk.stop)]

    with torch.inference_mode():
        assert list(chain(*map_chunks(work, range(7), 256, CPU))) == [0, 10, 20, 30, 40, 50, 60]
    assert torch.get_num_threads() == threads and all(row[1:] == (1, True) for row in seen)
    assert len(seen) == max(2, threads) and threading.get_ident() in {row[0] for row in seen}
    assert (len({row[0] for row in seen}) > 1) == (threads > 1)


def test_larger_crops_make_smaller_chunks(threads):
    with torch.no_grad():
        for size, most in ((256, 4), (512, 1), (1024, 1)):
            found = map_chunks(lambda chunk: chunk.stop - chunk.start, range(24), size, CPU)
            assert max(found) == most and sum(found) == 24


def test_threads_work_in_the_callers_number_format(threads):
    def work(chunk: range):
        return torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert set(map_chunks(work, range(6), 512, CPU)) == {(True, torch.bfloat16)}
    with torch.no_grad():
        assert {row[0] for row in map_chunks(work, range(6), 512, CPU)} == {False}


def test_training_stays_in_the_callers_thread(threads):
    def work(chunk: range):
        assert torch.is_grad_enabled() and torch.get_num_threads() == threads
        return list(range(chunk.start, chunk.stop))

    assert map_chunks(work, range(3), 256, CPU) == [[0, 1, 2]]


def test_a_cancel_in_the_callers_thread_ends_the_others_after_their_chunk():
    before, done, begun = torch.get_num_threads(), [], threading.Event()

    def work(chunk: range):
        if chunk.start == 0:
            begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        time.sleep(0.05)
        done.append(chunk.start)

    torch.set_num_threads(2)
    try:
        with torch.no_grad(), pytest.raises(KeyboardInterrupt):
            map_chunks(work, range(200), 512, CPU)
    finally:
        torch.set_num_threads(before)
    assert len(done) < 50  # of 100


def test_an_error_in_a_thread_reaches_the_caller(threads):
    def work(chunk: range):
        if chunk.start <= 4 < chunk.stop:
            raise ValueError("frame 4")

    with torch.no_grad(), pytest.raises(ValueError, match="frame 4"):
        map_chunks(work, range(5), 256, CPU)
    assert torch.get_num_threads() == threads


def test_the_number_of_cores_changes_nothing_seen_and_the_same_number_no_bit(clip, face_model):
    renderer, before, pictures = load_renderer(resolve_weights("renderer").path), torch.get_num_threads(), []
    soft = torch.stack([lower_face_mask(points, points, face_model, 256) for points in clip.points[5:8]])
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            with torch.inference_mode():
                lip, face = (
                    encode_references(renderer, clip.crops[i], clip.points[i], clip.expression[i], face_model)
                    for i in ([0, 2, 4, 8, 10], [4, 6, 7])
                )
                targets = Targets(clip.points[5:8], clip.expression[5:8], wanted=soft > 0)
                out = render(renderer, targets, lip, face, face_model)
            pictures.append(out.rgb)
    finally:
        torch.set_num_threads(before)
    assert float(((pictures[0] - pictures[1]).abs() * (soft > 0)[:, None]).max()) < 1e-4 and torch.equal(
        pictures[1], pictures[2]
    )
