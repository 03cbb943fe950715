"""The drawing tool as a fixture; tests are no package, so it is loaded by its path."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def drawing():
    spec = importlib.util.spec_from_file_location(
        "draw_workflows", Path(__file__).with_name("draw_workflows.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
