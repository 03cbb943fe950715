"""Manifests, and a dub that takes no time."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from personatalk_core import pipeline
from personatalk_core.batch import job, run_batch
from personatalk_core.errors import MediaError
from personatalk_core.models import PARTS
from personatalk_core.types import DubReport


@pytest.fixture
def write_manifest(tmp_path):
    """``write_manifest(entries)`` -> path of a jsonl file; a string entry is written as it is."""

    def write(entries, name: str = "jobs.jsonl") -> Path:
        path = tmp_path / name
        path.write_text(
            "".join((e if isinstance(e, str) else json.dumps(e)) + "\n" for e in entries), encoding="utf-8"
        )
        return path

    return write


@pytest.fixture
def quick_dub(monkeypatch, tmp_path):
    """pipeline.dub joins the two inputs; one named ``bad`` fails. Returns the list of outputs that were asked
    for."""
    asked = []

    def dub(video, audio, files, models, options, *, style=None, progress=None):
        out = files.video
        asked.append(Path(out).name)
        if "bad" in Path(video).name:
            raise MediaError(f"{video} is bad;\nexport it again.")
        if "bug" in Path(video).name:
            raise ZeroDivisionError("division by zero")
        progress.stage("rendering")(1, 1)
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        Path(out).write_bytes(Path(video).read_bytes() + Path(audio).read_bytes() + options.length.encode())
        return DubReport(frames=2, dubbed=1, passed_through={"side": 1}, warnings=["a remark"])

    monkeypatch.setattr(pipeline, "dub", dub)
    monkeypatch.setattr(
        job,
        "load_models",
        lambda *_, **__: SimpleNamespace(origins={n: SimpleNamespace(sha256=n) for n in PARTS}),
    )
    monkeypatch.setattr(run_batch, "resolve_weights", lambda name, **_: SimpleNamespace(sha256=name))
    for name in ("one", "two", "three", "bad", "bug"):
        (tmp_path / f"{name}.mp4").write_bytes(name.encode())
    (tmp_path / "a.wav").write_bytes(b"sound")
    return asked
