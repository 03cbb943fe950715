"""One process or several that train together: what differs between ranks, behind one small interface.

Several processes, several GPUs and mixed precision come from ``accelerate`` (an optional package), which is
imported only where a run asks for it. It starts one process a GPU; on CPUs its launcher starts one only, and
torch's own starts several:

    accelerate launch --multi_gpu --num_processes 2 -m personatalk_core train renderer --data DIR --out OUT
    --accelerate torchrun --standalone --nproc-per-node 2 -m personatalk_core train renderer --data DIR --out
    OUT --accelerate

Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from ..errors import DependencyError


class OneProcess:
    """Training alone, on the CPU unless another device is given."""

    rank, count = 0, 1

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def first(self) -> AbstractContextManager:
        """What the first process does before the others: they then find its files."""
        return nullcontext()

    def prepare(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimiser to step."""
        return optimiser

    def precision(self, half: bool) -> AbstractContextManager:
        """Where the audio encoder runs: bfloat16 when ``half``, else float32."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=half)

    def descend(self, loss: Tensor, parameters: Iterable[nn.Parameter], most: float) -> None:
        """Gradients of a loss, averaged over the processes, their norm at most ``most``."""
        loss.backward()
        nn.utils.clip_grad_norm_(list(parameters), most)

    def share(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""


class Accelerated(OneProcess):
    """One of the processes that ``accelerate`` started, on its device and in its precision.

    Gradients are averaged here rather than by a wrapper around the model, because which parameters learn
    changes during a run.
    Raises:
        DependencyError: accelerate is not installed.
    """

    def __init__(self) -> None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise DependencyError(
                "training in several processes needs accelerate; install it with 'pip install accelerate'."
            ) from error
        # without a GPU, accelerate joins the processes of torchrun only where it is told to use the CPU
        self._accelerator = Accelerator(cpu=not getattr(torch, "accelerator", torch.cuda).is_available())
        super().__init__(self._accelerator.device)
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes

    def first(self) -> AbstractContextManager:
        return self._accelerator.main_process_first()

    def prepare(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        return self._accelerator.prepare(optimiser)

    def precision(self, half: bool) -> AbstractContextManager:
        """What ``accelerate`` was told; where it was told nothing, bfloat16 when ``half``."""
        return (
            super().precision(half)
            if self._accelerator.mixed_precision == "no"
            else self._accelerator.autocast()
        )

    def descend(self, loss: Tensor, parameters: Iterable[nn.Parameter], most: float) -> None:
        self._accelerator.backward(loss)
        parameters = [p for p in parameters if p.grad is not None]
        if self.count > 1:
            flat = self._accelerator.reduce(
                torch.cat([p.grad.flatten() for p in parameters]), reduction="mean"
            )
            for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
                parameter.grad.copy_(part.view_as(parameter))
        self._accelerator.clip_grad_norm_(parameters, most)

    def share(self, parameters: Iterable[Tensor]) -> None:
        from accelerate.utils import broadcast

        for parameter in parameters:
            parameter.data.copy_(broadcast(parameter.data))
