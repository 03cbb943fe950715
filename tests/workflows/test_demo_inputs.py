"""The demo's files are the ones that the example workflows name."""

import json
from pathlib import Path

from personatalk_core.cli.parser import main

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_a_workflow_names_is_written(tmp_path, capsys):
    assert main(["demo", "--inputs", str(tmp_path / "input")]) in (0, None)
    written = {path.name for path in (tmp_path / "input").iterdir() if path.stat().st_size > 10_000}
    named = set()
    for path in (ROOT / "workflows").glob("*.json"):
        nodes = json.loads(path.read_text(encoding="utf-8"))["nodes"]
        named |= {node["widgets_values"][0] for node in nodes if node["type"] in ("LoadVideo", "LoadAudio")}
    assert named == written
    assert "talking_person.mp4" in capsys.readouterr().out
