"""The option table as documentation shows it. ``python tests/support/option_table.py`` renews it there."""

from __future__ import annotations

import re
from pathlib import Path

from personatalk_core.config import Option, option_fields

README = Path(__file__).resolve().parents[2] / "personatalk_core" / "cli" / "README.md"
HEADER = "| option | values | default | what it does |\n|---|---|---|---|\n"
TABLE = re.compile(re.escape(HEADER) + r"(\|.*\n)+")


def option_table() -> str:
    """A line a field of DubOptions, in their order."""
    return HEADER + "".join(map(_line, option_fields().values()))


def _line(option: Option) -> str:
    cells = [f"`{option.name}`", _values(option), _text(option.default), option.tooltip or option.help]
    return "| " + " | ".join(cells) + " |\n"


def _values(option: Option) -> str:
    if option.choices:
        return ", ".join(option.choices)
    if option.kind is bool:
        return "on, off"
    if option.kind is str:
        return (option.metavar or "text").replace("|", ", ")
    if option.max is not None:
        return f"{option.min:g} to {option.max:g}"
    return "a whole number" if option.min is None else f"{option.min:g} or more"


def _text(value: object) -> str:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(TABLE.sub(lambda _: option_table(), text), encoding="utf-8")
