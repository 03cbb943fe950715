"""What a person chooses about a training run, and recipes: JSON files of a loop's options."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from ..errors import OptionsError

Recipe = TypeVar("Recipe")
EARLIER_NAMES = {  # of options in recipes that were written before a name changed
    "rate": "lr",
    "encoder_rate": "encoder_lr",
    "average": "ema",
    "decay": "weight_decay",
    "hearing": "noise_distillation",
}


@dataclass(frozen=True)
class TrainOptions:
    """Choices of ``personatalk train``.

    steps: None takes the recipe's.  seed: of everything random; the same seed, data and machine give the same
    weights.  recipe: JSON file of options; None takes the default.  hold_out: speakers kept for
    validation; none named: see ``data.hold_out``.  encoder: ``moonshine`` or ``hubert`` (speech only).
    encoder_weights: what to start from (speech only): a Moonshine-tiny encoder in safetensors, or a HuBERT
    folder or Hub repository; None starts from the bundled Moonshine, which is already fine-tuned, or from
    ``facebook/hubert-base-ls960``.  accelerate: this is one of the processes that ``accelerate launch``
    started; they find each other whether or not it is said.  device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
    """

    steps: int | None = None
    seed: int = 0
    recipe: Path | None = None
    hold_out: tuple[str, ...] = ()
    encoder: str = "moonshine"
    encoder_weights: Path | str | None = None
    accelerate: bool = False
    device: str = "auto"


TRAIN_DEFAULTS = TrainOptions()


def read_recipe(path: Path, defaults: Recipe) -> Recipe:
    """Options of a training loop from a JSON object; what it leaves out keeps its default.

    Args:
        defaults: a frozen dataclass; options that are dataclasses themselves are objects in the file.
    Raises:
        OptionsError: the file cannot be read, or names an option that does not exist.
    """
    try:
        return _changed(defaults, json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise OptionsError(
            f"the recipe {path} cannot be read ({error}); pass a JSON object of options."
        ) from error
    except TypeError as error:
        known = ", ".join(f.name for f in fields(defaults))  # type: ignore[arg-type]
        raise OptionsError(
            f"the recipe {path} names an option that does not exist ({error}); the options are {known}."
        ) from error


def _changed(defaults: Any, stated: dict[str, Any]) -> Any:
    """The defaults with what is stated in their place."""
    changes: dict[str, Any] = {}
    for name, value in stated.items():
        name = EARLIER_NAMES.get(name, name)
        default = getattr(defaults, name, None)
        if is_dataclass(default):
            value = _changed(default, value)
        changes[name] = tuple(value) if isinstance(value, list) else value
    return replace(defaults, **changes)
