"""One process or several that train together, on the device and in the precision that ``accelerate`` gives.

Alone, a process trains on its host's GPU where there is one. ``accelerate launch`` starts one process a GPU;
on CPUs it starts one only, and torch's own launcher starts several:

    accelerate launch --multi_gpu --num_processes 2 -m personatalk_core train renderer --data DIR --out OUT
    torchrun --standalone --nproc-per-node 2 -m personatalk_core train renderer --data DIR --out OUT

Knows no network.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from ..errors import DependencyError

if TYPE_CHECKING:
    from accelerate import Accelerator


class Distributed:
    """This process among those that train together.

    rank: 0 in the process that writes files.  count: of the processes.  device: where this one trains.
    Gradients are averaged here rather than by a wrapper around the model, because which parameters learn
    changes during a run.

    Args:
        device: where to train alone; with several processes the CPU, or the GPU that ``accelerate`` gives.
    Raises:
        DependencyError: accelerate is not installed.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        # without a GPU, accelerate joins the processes of torchrun only where it is told to use the CPU
        self._accelerator = _accelerator(cpu=torch.device(device).type == "cpu")
        self.device: torch.device = self._accelerator.device
        self.rank, self.count = self._accelerator.process_index, self._accelerator.num_processes

    def main_process_first(self) -> AbstractContextManager:
        """What the first process does before the others: they then find its files."""
        return self._accelerator.main_process_first()

    def prepare(self, optimiser: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimiser to step."""
        return self._accelerator.prepare(optimiser)

    def autocast(self, half: bool) -> AbstractContextManager:
        """What ``accelerate launch --mixed_precision`` was told; where it was told nothing, bfloat16 when
        ``half``, else float32."""
        if self._accelerator.mixed_precision == "no":
            return torch.autocast(self.device.type, torch.bfloat16, enabled=half)
        return self._accelerator.autocast()

    def backward_and_clip(self, loss: Tensor, parameters: Iterable[nn.Parameter], max_norm: float) -> None:
        """Gradients of a loss, averaged over the processes, their norm at most ``max_norm``."""
        self._accelerator.backward(loss)
        learning = [p for p in parameters if p.grad is not None]
        if self.count > 1:
            gradients = [p.grad for p in learning if p.grad is not None]
            flat = cast(
                Tensor,
                self._accelerator.reduce(torch.cat([g.flatten() for g in gradients]), reduction="mean"),
            )
            for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(mean.view_as(gradient))
        self._accelerator.clip_grad_norm_(learning, max_norm)

    def broadcast(self, parameters: Iterable[Tensor]) -> None:
        """Give every process the first one's values."""
        from accelerate.utils import broadcast

        for parameter in parameters:
            parameter.data.copy_(broadcast(parameter.data))


def _accelerator(cpu: bool) -> Accelerator:
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState, is_initialized
    except ImportError as error:
        raise DependencyError(
            "training needs accelerate; install it with 'pip install accelerate'."
        ) from error
    # accelerate keeps a process's first choice of device; alone, a later run may choose another
    if is_initialized():
        state = AcceleratorState()
        if state.num_processes == 1 and (state.device.type == "cpu") != cpu:
            AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(cpu=cpu)
