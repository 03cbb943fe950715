"""The widgets of the option table, and their check before a run starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy_api.latest import io

from ..personatalk_core.config import FaceChoice, option_fields
from ..personatalk_core.errors import OptionsError

OPTIONS = option_fields()


def option_input(name: str, *, choices: Sequence[str] = (), **changed: Any) -> io.Input:
    """The widget of an option of :class:`DubOptions`, as its row of the option table describes it.

    Args:
        name: of the field, and of the widget.
        choices: what a list offers, where the node knows better than the table.
        changed: further arguments of the widget, such as ``optional=True``.
    """
    option = OPTIONS[name]
    arguments = {"default": option.default, "tooltip": option.tooltip or option.help, **changed}
    if option.advanced:
        arguments["advanced"] = True
    if choices or option.choices:
        return io.Combo.Input(name, options=list(choices or option.choices), **arguments)
    if option.kind is bool:
        return io.Boolean.Input(name, **arguments)
    if option.kind is str:
        return io.String.Input(name, **arguments)
    widget_max = option.max if option.max is not None else option.widget_max
    number = io.Int if option.kind is int else io.Float
    return number.Input(name, min=option.min, max=widget_max, step=option.step, **arguments)


def check_face(face: str | None) -> bool | str:
    """True, or the sentence that ComfyUI shows on the node before anything runs. A linked widget arrives as
    None."""
    try:
        FaceChoice.parse(face or "auto")
    except OptionsError as error:
        return str(error)
    return True
