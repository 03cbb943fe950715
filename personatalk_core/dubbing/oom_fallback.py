"""What rendering and speech do when memory runs out: fewer frames at once, then the CPU; each step says so
once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

import torch
from torch import nn

from ..errors import MemoryLimitError
from ..models import Models
from ..rendering.fast.cpu_chunks import Batch, map_chunks
from ..speech.lip_sync import INNER_FRAMES, SpeechWindows
from ..speech.networks import SpeechNetworks

Result = TypeVar("Result")
Network = TypeVar("Network", bound=nn.Module)
OutOfMemory = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)
CPU = torch.device("cpu")
LEAST_SPEECH = INNER_FRAMES // 4  # frames at 25 fps of the windows tried when the usual ones do not fit


class BatchRunner:
    """The renderer, the face model and the device that a run uses now, and how many frames it renders at
    once.

    The models that were handed in are never changed: other runs may be using them.
    """

    def __init__(self, models: Models, frames: int) -> None:
        self.renderer, self.device, self.dtype = models.need_renderer(), models.device, models.dtype
        self.face_model = models.face_model.to(models.device)
        self.frames = self._at_first = frames
        self.warnings: list[str] = []

    def autocast(self) -> AbstractContextManager:
        """The number format of the run."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def run_with_oom_fallback(
        self, make_batch: Callable[[slice], Batch], count: int, size: int, job: Callable[[Batch], Result]
    ) -> list[Result]:
        """Do a job for ``count`` frames, a window of them at a time; a window that does not fit into memory
        is done again smaller.

        Args:
            make_batch: gives the input of a window of frames, on the device that is used now.
            size:       pixels of a crop's side, by which a window is cut into chunks.
            job:        the work for one chunk; on a CPU each core takes chunks of its own.
        Returns:
            The results of all chunks, in order.
        Raises:
            MemoryLimitError: one frame at a time on the CPU is still too much.
        """
        done: list[Result] = []
        at = 0
        while at < count:
            window = slice(at, min(at + self.frames, count))
            try:
                with torch.inference_mode(), self.autocast():
                    results = map_chunks(job, make_batch(window), size, self.device)
            except OutOfMemory as error:
                self._step_down(window.stop - at, error)
            else:
                done += results
                at = window.stop
        return done

    def _step_down(self, tried: int, error: Exception) -> None:
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if tried > 1:
            self.frames = tried // 2
            self.warnings.append(
                f"Memory ran out on {self.device}: rendering went on with windows of {self.frames} frames."
            )
        elif self.device != CPU:
            self.warnings.append(
                f"Memory ran out on {self.device} even for one frame: rendering went on on the CPU, which "
                "is slower."
            )
            self.renderer, self.face_model = on_cpu(self.renderer), self.face_model.to(CPU)
            self.device, self.frames = CPU, self._at_first
            self.dtype = torch.float32
        else:
            raise MemoryLimitError(
                f"Memory ran out while rendering a single frame ({error}); close other programs, or use "
                "fewer references."
            ) from error


def speak_with_oom_fallback(
    say: Callable[..., Result], networks: SpeechNetworks, windows: SpeechWindows
) -> tuple[Result, list[str]]:
    """Do a job of speech with windows of the usual length, with shorter ones, then on the CPU: the first that
    fits into memory.

    Args:
        say:      the job, called as ``say(networks=..., windows=...)``.
        networks: never changed.
        windows:  of the usual length.
    Returns:
        The job's result, and a sentence about each step down.
    Raises:
        MemoryLimitError: the shortest windows on the CPU are still too much.
    """
    device, warnings = networks.lip_sync.basis.device, []
    while True:
        frames = windows.inner_frames
        try:
            return say(networks=networks, windows=windows), warnings
        except OutOfMemory as error:
            if frames > LEAST_SPEECH:
                frames = LEAST_SPEECH
                windows = replace(windows, inner_frames=frames)
                warnings.append(
                    f"Memory ran out on {device}: speech went on with windows of {frames} frames."
                )
            elif device != CPU:
                warnings.append(
                    f"Memory ran out on {device} even for {frames} frames of speech: it went on on the "
                    "CPU, which is slower."
                )
                networks = replace(
                    networks, audio_encoder=on_cpu(networks.audio_encoder), lip_sync=on_cpu(networks.lip_sync)
                )
                device = CPU
            else:
                raise MemoryLimitError(
                    f"Memory ran out over {frames} frames of speech ({error}); close other programs."
                ) from error
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def on_cpu(network: Network) -> Network:
    """A copy of a network on the CPU, made without a byte of its own device's memory."""
    memo: dict[int, object] = {}
    for parameter in network.parameters():
        memo[id(parameter)] = nn.Parameter(
            parameter.detach().to(CPU, copy=True), requires_grad=parameter.requires_grad
        )
    for buffer in network.buffers():
        memo[id(buffer)] = buffer.detach().to(CPU, copy=True)
    return copy.deepcopy(network, memo)
