"""The state of an interrupted training run as safetensors: nested dicts and lists of tensors, numbers and text. Nothing is unpickled."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from ..errors import WeightsError
from ..weights.checkpoint import load_checkpoint, save_checkpoint

KIND = "training_state"
TENSOR, PAIRS = "__tensor__", "__pairs__"


def save_state(path: Path, state: dict) -> None:
    """Write a state, whole or not at all; tensors keep dtype and shape."""
    tensors: dict[str, Tensor] = {}
    layout = _strip(state, tensors)
    save_checkpoint(Path(path), tensors, kind=KIND, config={"state": layout})


def load_state(path: Path) -> dict:
    """Read what :func:`save_state` wrote.

    Raises:
        WeightsError: missing, damaged, or not a training state.
    """
    checkpoint = load_checkpoint(Path(path), kind=KIND)
    try:
        return _restore(checkpoint.config["state"], checkpoint.tensors)
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a complete training state ({error}); delete it to train from the start.") from error


def _strip(value: object, tensors: dict[str, Tensor]) -> object:
    """The value as JSON, its tensors moved into ``tensors`` under numbers. Dict keys need not be text (optimisers use numbers)."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors):06d}"
        tensors[name] = value.detach().clone()
        return {TENSOR: name}
    if isinstance(value, dict):
        return {PAIRS: [[key, _strip(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_strip(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise WeightsError(f"a training state holds {type(value).__name__} but expected tensors, numbers, text, dicts and lists.")


def _restore(layout: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(layout, dict):
        if TENSOR in layout:
            return tensors[layout[TENSOR]]
        return {key: _restore(item, tensors) for key, item in layout[PAIRS]}
    return [_restore(item, tensors) for item in layout] if isinstance(layout, list) else layout

