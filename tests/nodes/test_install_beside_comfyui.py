"""Installing the pack's requirements where ComfyUI 0.33.0 is installed moves nothing of ComfyUI's: pip
resolves it, installing nothing."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
VERSIONS = HERE / "comfyui_0.33.0_versions.txt"
HOST = dict(line.split("==") for line in VERSIONS.read_text(encoding="utf-8").splitlines() if "==" in line)
NEVER = {"torch", "torchvision", "torchaudio", "comfyui", "triton"}


def resolve(report: Path, *arguments: str) -> dict[str, str]:
    """What pip would install, name to version, with ComfyUI's versions as constraints. Raises ValueError
    where they conflict."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        str(report),
    ]
    done = subprocess.run(
        [*command, "--constraint", str(VERSIONS), *arguments], capture_output=True, text=True, timeout=300
    )
    if "conflict" in done.stderr.lower():
        raise ValueError(done.stderr[-2000:])
    if done.returncode:
        pytest.skip(f"pip could not ask a package index: {done.stderr.strip().splitlines()[-1][:200]}")
    installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower(): item["metadata"]["version"]
        for item in installs
    }


@pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the recorded versions of ComfyUI's packages need Python 3.11 or later"
)
def test_nothing_of_comfyui_moves(tmp_path):
    lines = [
        line.partition("#")[0].strip()
        for line in (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    ]
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("\n".join(filter(None, lines)), encoding="utf-8")
    found = resolve(tmp_path / "report.json", "--requirement", str(requirements))
    assert {"mediapipe", "numpy", "transformers"} <= set(found)
    host = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in HOST.items()}
    assert {
        name: (host[name], version) for name, version in found.items() if host.get(name, version) != version
    } == {}
    assert set(found) & NEVER == set(), "torch must stay the user's own build"


def test_a_requirement_that_would_move_something_is_noticed(tmp_path):
    with pytest.raises(ValueError, match="numpy"):
        resolve(tmp_path / "report.json", "numpy<2")
