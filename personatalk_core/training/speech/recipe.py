"""Recipes of the speech stage as JSON: the file that made the bundled weights lies beside this one."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

from ...errors import OptionsError
from .loop import SpeechTraining
from .losses import SpeechLossWeights
from .noise_distillation import HearingTraining

BUNDLED_RECIPE = Path(__file__).with_name("recipe.json")


def read_recipe(path: Path | None = None) -> SpeechTraining:
    """Options of ``train speech`` from a JSON object; what it leaves out keeps its default. None: the bundled
    recipe.

    Raises:
        OptionsError: the file cannot be read, or names an option that does not exist.
    """
    path = Path(path or BUNDLED_RECIPE)
    try:
        wanted = json.loads(path.read_text(encoding="utf-8"))
        losses = SpeechLossWeights(**wanted.pop("loss", {}))
        hearing = HearingTraining(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in wanted.pop("hearing", {}).items()}
        )
        names = {name: tuple(wanted.get(name, ())) for name in ("hold_out", "reference")}
        return SpeechTraining(**(wanted | names | {"loss": losses, "hearing": hearing}))
    except (OSError, ValueError, AttributeError) as error:
        raise OptionsError(
            f"the recipe {path} cannot be read ({error}); pass a JSON object of options."
        ) from error
    except TypeError as error:
        known = ", ".join(f.name for f in fields(SpeechTraining))
        raise OptionsError(
            f"the recipe {path} names an option that does not exist ({error}); the options are {known}."
        ) from error
