"""``import personatalk_core as pt`` costs nothing, and offers what its stub tells type checkers."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import personatalk_core as pt

CORE = Path(pt.__file__).parent


def stub_names() -> dict[str, str]:
    """Each name of the stub and the module it comes from."""
    tree = ast.parse((CORE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module or "" for node in imports for alias in node.names}


def test_the_stub_and_the_package_offer_the_same():
    assert stub_names() == pt._MODULE_OF


@pytest.mark.parametrize("name", sorted(stub_names()))
def test_every_name_is_there_and_documented(name):
    assert getattr(pt, name).__doc__
    assert name in dir(pt)


def test_an_unknown_name_is_refused_as_of_any_module():
    with pytest.raises(AttributeError, match="has no attribute 'dubb'"):
        _ = pt.dubb


def test_the_import_loads_nothing_heavy():
    code = "import sys, personatalk_core; print(sorted({'torch', 'numpy', 'cv2', 'av'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(CORE.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
