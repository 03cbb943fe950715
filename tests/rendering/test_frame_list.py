"""Frame numbers as people write them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from personatalk_core.errors import OptionsError
from personatalk_core.rendering.frame_list import format_frames, parse_frames

SCRIPT = Path(__file__).resolve().parents[2] / "web" / "js" / "frame_list.js"
TEXTS = ["", "  ", "7", "3, 1 2", "12, 40-43", "5 - 7,6", "0-2,4,9-9", "1,,2"]


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ("", ()),
        ("7", (7,)),
        ("3, 1 2", (1, 2, 3)),
        ("12, 40-43", (12, 40, 41, 42, 43)),
        ("5 - 7,6", (5, 6, 7)),
    ],
)
def test_parse(text, frames):
    assert parse_frames(text) == frames


@pytest.mark.parametrize("text", ["a", "3-1", "-4", "1.5", "1-2-3", "0-999999", "99999999"])
def test_refused(text):
    with pytest.raises(OptionsError):
        parse_frames(text)


@pytest.mark.parametrize("frames", [(), (4,), (1, 2, 3, 7, 9, 10)])
def test_format_is_the_inverse(frames):
    assert parse_frames(format_frames(frames)) == frames


def test_the_page_reads_and_writes_the_same():
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; it runs the page's own parser")
    code = f"import {{ formatFrames, parseFrames }} from {json.dumps(SCRIPT.as_uri())};"
    code += (
        f"console.log(JSON.stringify({json.dumps(TEXTS)}.map((t) => [parseFrames(t), "
        "formatFrames(parseFrames(t))])))"
    )
    done = subprocess.run(
        [node, "--input-type=module", "-e", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    expected = [[list(parse_frames(text)), format_frames(parse_frames(text))] for text in TEXTS]
    assert json.loads(done.stdout.splitlines()[-1]) == expected
