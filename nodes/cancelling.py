"""Cancel within one long call of the core: while it computes, every operation of torch may ask whether the
user cancelled.

Progress steps ask too, but one step of a long clip may take seconds. Nothing in the core has to know of this.
"""

from __future__ import annotations

import time

import comfy.model_management
from torch.overrides import TorchFunctionMode

ASK_SECONDS = 0.1  # between two questions, so that asking costs nothing


class Cancellable(TorchFunctionMode):
    """Within ``with``: operations of this thread raise ComfyUI's interruption soon after the user
    cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self._asked = 0.0

    def ask(self) -> None:
        """Raise if the user cancelled."""
        self._asked = time.monotonic()
        comfy.model_management.throw_exception_if_processing_interrupted()

    def __torch_function__(self, function, types, args=(), kwargs=None) -> object:
        if time.monotonic() - self._asked > ASK_SECONDS:
            self.ask()
        return function(*args, **(kwargs or {}))
