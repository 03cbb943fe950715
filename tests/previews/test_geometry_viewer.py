"""The viewer's file, read back in Python and by the page's own reader."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk_core.geometry.face_model import Region, load_face_model
from personatalk_core.geometry.vertices import canonical_vertices
from personatalk_core.previews.geometry_viewer import MAX_VIEW_FRAMES, UNIT, write_viewer_file
from personatalk_core.types import FaceGeometry

SCRIPT = Path(__file__).resolve().parents[2] / "web" / "js" / "geometry_file.js"


@pytest.fixture(scope="module")
def face_model():
    return load_face_model()


def moving(face_model, frames):
    generator = torch.Generator().manual_seed(0)
    return FaceGeometry(
        torch.randn(face_model.identity_count, generator=generator) * 0.5,
        torch.randn(frames, face_model.expression_count, generator=generator) * 0.5,
        torch.randn(frames, 3, generator=generator) * 0.2,
        torch.zeros(frames, 2),
        torch.ones(frames),
        torch.zeros(frames, dtype=torch.uint8),
        torch.zeros(frames, dtype=torch.int64),
        torch.arange(frames),
        torch.arange(frames, dtype=torch.float64) / 25,
        torch.full((frames,), 0.04, dtype=torch.float64),
        (100, 100),
        face_model.sha256,
    )


def read(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:4], "little")
    header, offset, arrays = json.loads(data[4 : 4 + size]), 4 + size + -size % 4, {}
    for entry in header["arrays"]:
        array = np.frombuffer(data, entry["dtype"], int(np.prod(entry["shape"])), offset).reshape(
            entry["shape"]
        )
        arrays[entry["name"]] = array
        offset += array.nbytes + -array.nbytes % 4
    assert offset == len(data)
    return header, arrays


def test_mesh_comes_back_within_half_a_step(tmp_path, face_model):
    geometry = moving(face_model, 5)
    header, arrays = read(write_viewer_file(tmp_path / "a.ptmesh", geometry, face_model))
    truth = canonical_vertices(geometry, face_model).numpy()
    assert np.abs(arrays["target"] * header["unit"] - truth).max() <= UNIT * 0.51
    assert "source" not in arrays and len(header["times"]) == 5
    assert len(arrays["triangles"]) == int((face_model.region != int(Region.SKIRT)).sum())


def test_generated_geometry_brings_its_source_in_output_order(tmp_path, face_model):
    source = moving(face_model, 4)
    order = torch.tensor([3, 2, 1, 0, 1])
    target = replace(moving(face_model, 5), source_frame=order, reference=source)
    _, arrays = read(write_viewer_file(tmp_path / "a.ptmesh", target, face_model))
    truth = canonical_vertices(source, face_model)[order].numpy()
    assert np.abs(arrays["source"] * UNIT - truth).max() <= UNIT * 0.51


def test_long_clips_are_thinned_out(tmp_path, face_model):
    header, arrays = read(
        write_viewer_file(tmp_path / "a.ptmesh", moving(face_model, MAX_VIEW_FRAMES + 1), face_model)
    )
    assert len(arrays["target"]) <= MAX_VIEW_FRAMES and header["times"][1] == pytest.approx(0.08)


def test_the_page_reads_the_same_numbers(tmp_path, face_model):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; it runs the page's own reader")
    path = write_viewer_file(tmp_path / "a.ptmesh", moving(face_model, 3), face_model)
    code = f"""import {{ readFileSync }} from "node:fs"; import {{ readGeometry }} from
    {json.dumps(SCRIPT.as_uri())}; const data = readFileSync({json.dumps(str(path))}); const g =
    readGeometry(data.buffer.slice(data.byteOffset, data.byteOffset + data.length));
    console.log(JSON.stringify([g.frameCount, g.vertexCount, g.target.at(-1), g.triangles.at(-1),
    g.rotation.at(-1), g.times.length]));"""
    done = subprocess.run(
        [node, "--input-type=module", "-e", code], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    _, arrays = read(path)
    expected = [
        3,
        face_model.vertex_count,
        *(arrays[name].reshape(-1)[-1].item() for name in ("target", "triangles", "rotation")),
        3,
    ]
    assert json.loads(done.stdout.splitlines()[-1]) == pytest.approx(expected)
