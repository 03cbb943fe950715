"""Fixtures that every test may use: the corpus where it is present, and a real-looking sample that installs
with a package."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
if (
    find_spec("personatalk_core") is None
):  # not installed: run from the checkout; append so that our nodes/ shadows nothing
    sys.path.append(str(ROOT))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The training and test corpus beside the checkout; it is never part of the repository."""
    folder = ROOT.parent / "shared" / "corpus"
    if not (folder / "INDEX.tsv").is_file():
        pytest.skip(f"the corpus is not at {folder}; this test needs real clips that are not shipped")
    return folder


@pytest.fixture(scope="session")
def sample_video(tmp_path_factory) -> Path:
    """The demo's talking face as an mp4: 56 frames of 350 x 350 at 15 frames/s, no sound."""
    from personatalk_core.samples.demo import write_sample_video

    target = tmp_path_factory.mktemp("sample") / "sample.mp4"
    write_sample_video(target)
    return target
