"""edit, export and other face models through the command line, on geometry made here."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from personatalk_core.cli.parser import main
from personatalk_core.geometry.face_model import Region, load_face_model
from personatalk_core.geometry.geometry_file import load_geometry, save_geometry
from personatalk_core.geometry.other_face_models import IBUG_68
from personatalk_core.types import FaceGeometry


@pytest.fixture
def talking(tmp_path) -> Path:
    """Ten frames in which the jaw opens."""
    model, frames = load_face_model(), 10
    expression = torch.outer(torch.linspace(0, 0.5, frames), model.direction("jawOpen"))
    zero = torch.zeros(frames, dtype=torch.int64)
    times = torch.arange(frames, dtype=torch.float64) / 25
    path = tmp_path / "talking.safetensors"
    save_geometry(
        path,
        FaceGeometry(
            identity=torch.zeros(model.identity_count),
            expression=expression,
            rotation=torch.zeros(frames, 3),
            translation=torch.full((frames, 2), 100.0),
            scale=torch.full((frames,), 50.0),
            status=zero.to(torch.uint8),
            shot=zero,
            source_frame=torch.arange(frames),
            times=times,
            durations=torch.full((frames,), 0.04, dtype=torch.float64),
            frame_size=(200, 200),
            face_model=model.sha256,
        ),
    )
    return path


def run(*arguments) -> int:
    return main([str(a) for a in arguments] + ["--quiet"])


def test_edit_changes_a_file_and_keeps_what_it_came_from(talking, tmp_path):
    out, model = tmp_path / "edited.safetensors", load_face_model()
    assert (
        run("edit", talking, "--out", out, "--mouth-gain", 0, "--add", "mouthSmileLeft=0.2", "--speed", 2)
        == 0
    )
    before, after = load_geometry(talking, model), load_geometry(out, model)
    assert after.frame_count == 5 and after.source_frame.tolist() == [0, 2, 4, 6, 8]
    torch.testing.assert_close(after.durations, torch.full((5,), 0.04, dtype=torch.float64))
    lower = after.expression[:, : model.lower_count]
    torch.testing.assert_close(lower, lower[:1].expand_as(lower))
    torch.testing.assert_close(after.reference.expression, before.expression)
    assert run("edit", talking, "--out", out, "--freeze", "lower@9", "pose@0") == 0
    held = load_geometry(out, model).expression[:, : model.lower_count]
    torch.testing.assert_close(held[0], before.expression[9, : model.lower_count])


def test_export_writes_every_kind(talking, tmp_path):
    paths = {kind: tmp_path / f"out.{kind}" for kind in ("obj", "glb", "csv", "json")}
    assert (
        run("export", talking, *(word for kind, path in paths.items() for word in (f"--{kind}", path))) == 0
    )
    assert len(list(paths["obj"].glob("*.obj"))) == 10
    assert paths["glb"].read_bytes()[:4] == b"glTF"
    rows = list(csv.DictReader(paths["csv"].open()))
    assert len(rows) == 10 and float(rows[9]["JawOpen"]) > 0.3 > float(rows[0]["JawOpen"])
    assert len(json.loads(paths["json"].read_text())["frames"]) == 10


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["edit", "IN", "--out", "OUT", "--mouth-gain", "3"], "lower_gain is 3.0"),
        (["edit", "IN", "--out", "OUT", "--add", "jawOpen"], "expected NAME=AMOUNT"),
        (["edit", "IN", "--out", "OUT", "--add", "noseLong=1"], "no direction 'noseLong'"),
        (["edit", "IN", "--out", "OUT", "--freeze", "lower"], "expected PART@FRAME"),
        (["edit", "IN", "--out", "OUT", "--freeze", "ear@0"], "part is 'ear'"),
        (["edit", "IN", "--out", "OUT", "--freeze", "lower@10"], "frame is 10"),
        (["edit", "IN", "--out", "OUT", "--speed", "20"], "speed is 20.0"),
        (["export", "IN"], "nothing was asked for"),
        (["export", "IN", "--csv", "OUT", "--face-landmarks", "x.json"], "without --face-model"),
        (["export", "IN", "--csv", "OUT", "--face-model", "missing.mat"], "does not exist"),
    ],
)
def test_bad_requests_get_a_sentence_and_write_nothing(talking, tmp_path, capsys, arguments, match):
    out = tmp_path / "out.safetensors"
    assert run(*({"IN": talking, "OUT": out}.get(a, a) for a in arguments)) == 2
    assert match in capsys.readouterr().err
    assert not out.exists()


def test_geometry_of_a_users_face_model(sample_video, tmp_path):
    own = load_face_model()
    random = np.random.default_rng(0)
    mat, out, table = tmp_path / "BFM_model_front.mat", tmp_path / "g.safetensors", tmp_path / "g.glb"
    jaw = torch.stack(
        [
            torch.einsum("e,evc->vc", own.direction(n), own.expression_basis)
            for n in ("jawOpen", "mouthPucker")
        ]
    )[:, :468]
    savemat(
        mat,
        {
            "meanshape": own.mean[:468].numpy().reshape(1, -1),
            "idBase": random.normal(size=(3 * 468, 2)) * 0.01,
            "exBase": jaw.numpy().reshape(2, -1).T,
            "tri": own.triangles[own.region == Region.FACE].numpy() + 1,
            "keypoints": np.array(IBUG_68)[None] + 1,
        },
    )
    assert run("geometry", sample_video, "--out", out, "--face-model", mat) == 0
    assert run("export", out, "--glb", table, "--face-model", mat) == 0
    assert table.is_file()
    assert load_geometry(out).expression.shape[1] == 4  # two components, each split in lower and upper
    assert run("export", out, "--glb", table) == 2  # the bundled face model is another one
