"""Frames are independent: on a CPU each core takes frames of its own, instead of all cores one small
operation after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, takewhile
from threading import Event
from typing import TypeVar

import torch

Result = TypeVar("Result")


def over_frames(work: Callable[[range], Iterable[Result]], count: int, device: torch.device) -> list[Result]:
    """Do some work for frames 0 to count - 1, on as many threads as torch uses here.

    Inside, every operation runs on one thread. Which frames share a run, and so the operations of
    :func:`renderer.together`, follows from the number of cores; what that changes lies far below a level of a
    pixel. GPUs and training go on in the caller's own thread.

    Args:
        work:   gives the results of a run of frames, in order, one a frame or a few frames; several runs are
            worked on at once.
        device: where the work is done.
    Returns:
        All results in the order of frames; of no frame, an empty list.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or torch.is_grad_enabled():
        return list(work(range(count)))
    inference, ended = torch.is_inference_mode_enabled(), Event()

    def part(frames: range) -> list[Result]:
        with torch.no_grad(), torch.inference_mode(inference):  # both belong to a thread
            return list(takewhile(lambda _: not ended.is_set(), work(frames)))

    busy = min(threads, count)
    edges = [k * count // busy for k in range(busy + 1)] if busy else [0]
    runs = [range(*pair) for pair in zip(edges, edges[1:], strict=False)]
    torch.set_num_threads(1)
    try:
        if len(runs) < 2:
            return part(range(count))
        with ThreadPoolExecutor(len(runs) - 1, "personatalk-frames", torch.set_num_threads, (1,)) as pool:
            others = [pool.submit(part, run) for run in runs[1:]]
            try:
                return list(chain(part(runs[0]), *(other.result() for other in others)))
            except BaseException:
                ended.set()  # a failure or the user's cancel: the others finish the frame they are at
                raise
    finally:
        torch.set_num_threads(threads)
