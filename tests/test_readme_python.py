"""The Python of the README, run as it stands there: the whole dub, and the same stage by stage."""

from __future__ import annotations

import re
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from personatalk_core.samples.demo import write_workflow_inputs

ROOT = Path(__file__).resolve().parents[1]


def python_of_the_readme() -> str:
    """Its one block of Python."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return block


def test_it_has_six_lines():
    lines = [line for line in python_of_the_readme().splitlines() if line and not line.startswith("#")]
    assert len(lines) == 6
    assert lines[0] == "import personatalk_core as pt"


@pytest.mark.slow
def test_it_runs_on_the_files_that_it_names(tmp_path):
    """Both ways give the same file; the sample clip is dubbed, and nothing is left beside the two."""
    inputs = {path.name for path in write_workflow_inputs(tmp_path)}
    run = [sys.executable, "-c", f"import sys; sys.path.append({str(ROOT)!r})\n" + python_of_the_readme()]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == inputs | {"dub.mp4", "again.mp4"}
    files = [(tmp_path / name).read_bytes() for name in ("dub.mp4", "again.mp4")]
    assert len(files[0]) > 100_000
    assert sha256(files[0]).digest() == sha256(files[1]).digest()
