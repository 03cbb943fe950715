"""Which device and number format the networks run in."""

from __future__ import annotations

import torch

from .errors import OptionsError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device for ``auto | cpu | cuda | mps``; ``auto`` takes the host's GPU where there is one.

    Raises:
        OptionsError: the device asked for is not there.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    if not available.get(name, False):
        raise OptionsError(
            f"device is '{name}' but this machine offers {', '.join(k for k, v in available.items() if v)}; choose one of these or auto."
        )
    return torch.device(name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number format for ``auto | fp32 | bf16 | fp16``; ``auto`` is fp32 everywhere, the format the weights were checked in.

    Raises:
        OptionsError: fp16 on a CPU, which has no fast half-precision kernels.
    """
    if name == "auto":
        return torch.float32
    if name == "fp16" and device.type == "cpu":
        raise OptionsError("dtype is 'fp16' but the device is the CPU, which computes it slowly and coarsely; choose fp32 or bf16.")
    return _DTYPES[name]
