"""Frames are independent: on a CPU each core takes frames of its own, instead of all cores one small
operation after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from threading import Event
from typing import Protocol, TypeVar

import torch
from typing_extensions import Self

from ...config import CROP_SIZE

Result = TypeVar("Result")
CPU_FRAMES, GPU_FRAMES = 4, 32  # frames of 256 pixels in one operation on a CPU and on other devices


class Frames(Protocol):
    """Frames that can be cut into chunks."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Self: ...


Batch = TypeVar("Batch", bound=Frames)


def map_chunks(
    work: Callable[[Batch], Result], batch: Batch, size: int, device: torch.device
) -> list[Result]:
    """Do some work for a batch of frames, chunk by chunk, on as many threads as torch uses here.

    Inside, every operation runs on one thread. Which frames share a chunk follows from the number of cores;
    what that changes lies far below a level of a pixel. GPUs and training go on in the caller's own thread.

    Args:
        work:   gives the result of one chunk of frames; called from several threads at once, each in the
                caller's inference mode and number format.
        batch:  all frames.
        size:   pixels of a crop's side.
        device: where the work is done.
    Returns:
        All results in the order of frames; of no frame, an empty list.
    """
    if device.type != "cpu" or torch.is_grad_enabled():
        return list(map(work, cut(batch, range(len(batch)), size, device)))
    threads, ended = torch.get_num_threads(), Event()
    inference, half = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu")

    def on_thread(frames: range) -> list[Result]:  # grad mode, inference mode and autocast belong to a thread
        with torch.no_grad(), torch.inference_mode(inference), torch.autocast("cpu", dtype, enabled=half):
            return [work(chunk) for chunk in cut(batch, frames, size, device) if not ended.is_set()]

    count, busy = len(batch), max(1, min(threads, len(batch)))
    edges = [k * count // busy for k in range(busy + 1)]
    first, *others = (range(*pair) for pair in pairwise(edges))
    torch.set_num_threads(1)
    try:
        if not others:
            return list(map(work, cut(batch, first, size, device)))
        with ThreadPoolExecutor(len(others), "personatalk-frames", torch.set_num_threads, (1,)) as pool:
            later = [pool.submit(on_thread, frames) for frames in others]
            try:
                here = list(map(work, cut(batch, first, size, device)))
                return list(chain(here, *(future.result() for future in later)))
            except BaseException:
                ended.set()  # a failure or the user's cancel: the others finish the chunk they are at
                raise
    finally:
        torch.set_num_threads(threads)


def cut(batch: Batch, frames: range, size: int, device: torch.device) -> list[Batch]:
    """Some frames of a batch in the chunks that :func:`chunks` names."""
    return [batch[chunk] for chunk in chunks(frames, size, device)]


def chunks(frames: range, size: int, device: torch.device) -> Iterator[slice]:
    """Frames worked on in one operation each: as many as have pixels that stay in a processor's cache."""
    most = max(1, (CPU_FRAMES if device.type == "cpu" else GPU_FRAMES) * CROP_SIZE**2 // size**2)
    for start in range(frames.start, frames.stop, most):
        yield slice(start, min(start + most, frames.stop))
