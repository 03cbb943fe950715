"""Refuse to publish a tag that does not name the version in pyproject.toml: ``check_tag.py v0.1.0``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def main(tag: str) -> str | None:
    """None, or the sentence to exit with."""
    section = PROJECT.read_text(encoding="utf-8").partition("[project]\n")[2].partition("\n[")[0]
    version = re.search(r'^version = "(.+)"$', section, re.MULTILINE)
    if version is None:
        return f"{PROJECT.name} states no version."
    if tag != f"v{version[1]}":
        return (
            f"The tag is '{tag}' but {PROJECT.name} has version {version[1]}; tag v{version[1]}, or raise it."
        )
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
