"""How far a reader has to walk: what a dub imports, how deep eq. 3 lies below it, how much a call takes."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from personatalk_core import pipeline
from personatalk_core.dubbing.write_dub import write_dub
from personatalk_core.evaluation.benchmark.run import benchmark_quality
from personatalk_core.evaluation.metrics.video_scores import evaluate_video
from personatalk_core.evaluation.reconstruct import reconstruct
from personatalk_core.evaluation.user_study.make import make_user_study
from personatalk_core.rendering.renderer import encode_references, render

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "personatalk_core"
MAX_MODULES, MAX_DEPTH, MAX_PARAMETERS = 75, 9, 7
PIPELINE_LINES, NETWORK_LINES = 170, 250
# What a network's page may know: torch, layouts, numbers, and its neighbours that are plain torch, too.
OUTSIDE = {"__future__", "math", "dataclasses", "typing", "torch", "einops"}
CHILD = """
import json, sys
from pathlib import Path

core = sys.argv[1]
depths = {"lips and face": [], "style": []}

def core_frames():
    frame, depth = sys._getframe(2), 0  # who calls the attention
    while frame is not None:
        depth += frame.f_code.co_filename.startswith(core)
        frame = frame.f_back
    return depth

def counted(name, function):
    def call(*arguments, **choices):
        depths[name].append(core_frames() + 1)  # the function itself is on the stack no more
        return function(*arguments, **choices)
    return call

import personatalk_core as pt
from personatalk_core.rendering.fast import attention
from personatalk_core.speech.local_attention import LocalAttention
from personatalk_core.speech.network import StylizedAudio

pt.dub(sys.argv[2], sys.argv[3], sys.argv[4], pt.load_models(pt.DubOptions(device="cpu")))
loaded = [m for n, m in sys.modules.items() if n.split(".")[0] == "personatalk_core"]
files = sorted({str(Path(m.__file__)) for m in loaded})

attention.aligned_weights = counted("lips and face", attention.aligned_weights)
plain, build, marked = LocalAttention.forward, StylizedAudio.__init__, set()
def mark(self, *arguments):
    build(self, *arguments)
    marked.add(self.attention)
def forward(self, *arguments):
    if self in marked:
        depths["style"].append(core_frames() + 1)
    return plain(self, *arguments)
StylizedAudio.__init__, LocalAttention.forward = mark, forward
pt.dub(sys.argv[2], sys.argv[3], sys.argv[4], pt.load_models(pt.DubOptions(device="cpu")))
print(json.dumps({"files": files, "depths": {name: max(found) for name, found in depths.items()}}))
"""


@pytest.fixture(scope="module")
def walk(tmp_path_factory) -> dict:
    """Files a dub of a second imported, and the deepest call of eq. 3 in either network below ``dub``."""
    from personatalk_core.media.array_files import write_frames
    from personatalk_core.samples.demo import DEMO_SPEECH, sample_frames

    folder = tmp_path_factory.mktemp("walk")
    video = write_frames(folder / "clip.mp4", sample_frames()[:14], 14, 15)
    arguments = [str(CORE), str(video), str(DEMO_SPEECH), str(folder / "out.mp4")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def holds_code(path: Path) -> bool:
    """A module that is more than a docstring."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)) for node in body)


def test_a_dub_imports_few_modules(walk):
    modules = [Path(file) for file in walk["files"] if holds_code(Path(file))]
    names = [path.relative_to(CORE).as_posix() for path in modules]
    assert len(names) <= MAX_MODULES, f"{len(names)}: {', '.join(names)}"


def test_a_dub_imports_no_evaluation_no_training_and_no_command_line(walk):
    rooms = {Path(file).relative_to(CORE).parts[0] for file in walk["files"]}
    assert not rooms & {"evaluation", "training", "cli", "batch", "previews"}


@pytest.mark.parametrize("network", ["lips and face", "style"])
def test_attention_runs_a_few_calls_below_a_dub(walk, network):
    """Eq. 3, counted in calls of the core from ``dub`` to the attention itself, both included."""
    assert walk["depths"][network] <= MAX_DEPTH, walk["depths"]


ENTRY_POINTS = {
    **{
        name: getattr(pipeline, name)
        for name in ("dub", "track", "fit", "extract_style", "animate", "render")
    },
    "write_dub": write_dub,
    "rendering.render": render,
    "rendering.encode_references": encode_references,
    "reconstruct": reconstruct,
    "evaluate_video": evaluate_video,
    "benchmark_quality": benchmark_quality,
    "make_user_study": make_user_study,
}


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_entry_points_ask_for_little(name):
    parameters = inspect.signature(ENTRY_POINTS[name]).parameters
    assert len(parameters) <= MAX_PARAMETERS, f"{name} takes {len(parameters)}: {', '.join(parameters)}"


def test_the_trunk_is_one_page_without_files_or_recursion():
    path = CORE / "pipeline.py"
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= PIPELINE_LINES
    for function in [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]:
        called = {ast.unparse(node.func) for node in ast.walk(function) if isinstance(node, ast.Call)}
        assert function.name not in called, f"{function.name} calls itself"
        assert not called & {"open", "tempfile.TemporaryDirectory", "shutil.copyfile", "Path"}, called


@pytest.mark.parametrize("file", ["rendering/network.py", "speech/network.py"])
def test_a_network_is_one_page_of_plain_torch(file):
    path = CORE / file
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= NETWORK_LINES, len(text.splitlines())
    tree = ast.parse(text)
    outside = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    outside |= {
        (n.module or "").split(".")[0]
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom) and not n.level
    }
    assert outside <= OUTSIDE, outside - OUTSIDE
    inside = {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level}
    assert not any(part in {"fast", "dubbing", "media"} for module in inside for part in module.split("."))
