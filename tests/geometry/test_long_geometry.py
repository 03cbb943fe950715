"""What is done to the geometry of a long clip as a whole takes memory in proportion to coefficients, never to
vertices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 20_000  # 13 minutes; 560 vertices of three floats would take 134 MB
MOST_MIB = 60
CHILD = """
import sys, resource, torch, numpy as np
from dataclasses import replace
torch.set_num_threads(1)
from personatalk_core.config import DubOptions
from personatalk_core.models import load_models
from personatalk_core.evaluation.speed.synthetic_clip import synthetic_geometry
from personatalk_core.rendering.references import select_references
from personatalk_core.speech.style import extract_style
from personatalk_core.compose.crop import crop_boxes

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

models = load_models(DubOptions(device="cpu"), parts=("speech",))
work = {
    "crop": lambda g: crop_boxes(g, models.face_model),
    "references": lambda g: select_references(g, models.face_model, g.source_frame),
    "style": lambda g: extract_style(g, models.speech, models.face_model, name="x"),
}[sys.argv[1]]
work(synthetic_geometry(models.face_model, 3500))
long = synthetic_geometry(models.face_model, int(sys.argv[2]))
before = peak()
work(long)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks of memory are read as Linux states them")
@pytest.mark.parametrize("what", ["crop", "references", "style"])
def test_peak_memory_is_not_that_of_all_vertices(what):
    child = subprocess.run(
        [sys.executable, "-c", CHILD, what, str(FRAMES)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert float(child.stdout) < MOST_MIB
