"""The state of an interrupted training run as safetensors: nested dicts and lists of tensors, numbers and
text. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..errors import WeightsError
from ..weights.checkpoint import load_checkpoint, save_checkpoint, write_atomically

KIND = "training_state"
STATE_FILE = "state.safetensors"
PARTS = ("model", "average", "optimiser")
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
        raise WeightsError(
            f"{path} is not a complete training state ({error}); delete it to train from the start."
        ) from error


def save_run(run: object, folder: Path, names: Sequence[str]) -> None:
    """Write a training loop's ``model``, ``average``, ``optimiser`` and the attributes ``names``, with
    ``history.json`` for people."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {part: getattr(run, part).state_dict() for part in PARTS} | {
        name: getattr(run, name) for name in names
    }
    save_state(folder / STATE_FILE, state)
    write_atomically(folder / "history.json", json.dumps(run.history, indent=1).encode())


def resume_run(run: object, folder: Path, names: Sequence[str]) -> None:
    """Put back what :func:`save_run` wrote; nothing happens where it wrote nothing. A state without an
    optimiser starts a new one."""
    if not (folder / STATE_FILE).is_file():
        return
    state = load_state(folder / STATE_FILE)
    for part in PARTS:
        if part != "optimiser" or part in state:
            getattr(run, part).load_state_dict(state[part])
    for name in names:
        setattr(run, name, state[name])


def _strip(value: object, tensors: dict[str, Tensor]) -> object:
    """The value as JSON, its tensors moved into ``tensors`` under numbers. Dict keys need not be text
    (optimisers use numbers)."""
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
    raise WeightsError(
        f"a training state holds {type(value).__name__} but expected tensors, numbers, text, dicts and lists."
    )


def _restore(layout: object, tensors: dict[str, Tensor]) -> object:
    if isinstance(layout, dict):
        if TENSOR in layout:
            return tensors[layout[TENSOR]]
        return {key: _restore(item, tensors) for key, item in layout[PAIRS]}
    return [_restore(item, tensors) for item in layout] if isinstance(layout, list) else layout
