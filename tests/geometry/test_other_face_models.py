"""Face models in the layouts of BFM09, FLAME and ICT-FaceKit, made here from the bundled one: none of the
real files is shipped."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.io import savemat

from personatalk_core.errors import ShapeError, WeightsError
from personatalk_core.geometry.camera import project
from personatalk_core.geometry.face_model import Region, load_face_model
from personatalk_core.geometry.other_face_models import (
    IBUG_68,
    NEEDED,
    load_any_face_model,
    load_bfm09,
    save_face_model,
)
from personatalk_core.geometry.pncc import draw_pncc
from personatalk_core.geometry.vertices import mouth_opening, shape_vertices

SIZE = 7.0  # units of the foreign model: its eyes are 7 apart


@pytest.fixture(scope="module")
def foreign():
    """The bundled model's 468 face vertices in another unit, place and order, with three identities and
    jawOpen, mouthPucker."""
    model = load_face_model()
    order = np.random.default_rng(0).permutation(468)
    place = np.argsort(order)  # old vertex -> new vertex
    jaw = torch.stack(
        [
            torch.einsum("e,evc->vc", model.direction(n), model.expression_basis)
            for n in ("jawOpen", "mouthPucker")
        ]
    )
    triangles = model.triangles[(model.region == Region.FACE) | (model.region == Region.EYE)].numpy()
    return {
        "mean": model.mean[order].numpy() * SIZE + 3,
        "identity": model.identity_basis[:3, order].numpy() * SIZE,
        "expression": jaw[:, order].numpy() * SIZE,
        "triangles": place[triangles],
        "place": place,
    }


@pytest.fixture
def bfm(foreign, tmp_path):
    path = tmp_path / "BFM_model_front.mat"
    savemat(
        path,
        {
            "meanshape": foreign["mean"].reshape(1, -1),
            "idBase": foreign["identity"].reshape(3, -1).T,
            "exBase": foreign["expression"].reshape(2, -1).T,
            "tri": foreign["triangles"] + 1,
            "keypoints": foreign["place"][list(IBUG_68)][None] + 1,
        },
    )
    return path


@pytest.fixture
def landmarks(foreign, tmp_path):
    path = tmp_path / "landmarks.json"
    path.write_text(json.dumps({str(k): int(foreign["place"][k]) for k in IBUG_68}))
    return path


def check(model, foreign, width):
    own = load_face_model()
    assert (
        model.vertex_count == 468 + 8 and model.lower_count == width and model.expression_count == 2 * width
    )
    right, left = model.mean[model.eye_corners]
    assert float((left - right).norm()) == pytest.approx(1, abs=1e-4) and left[0] > right[0]
    expression = torch.zeros(1, 2 * width)
    expression[0, [0, width]] = 1  # jawOpen, both halves
    rest = shape_vertices(None, expression * 0, model)
    opened = shape_vertices(None, expression, model)
    truth = torch.einsum("e,evc->vc", own.direction("jawOpen"), own.expression_basis)[:468]
    place = torch.from_numpy(foreign["place"])
    torch.testing.assert_close(
        (opened - rest)[0, place], truth / (own.mean[263] - own.mean[33]).norm(), atol=1e-4, rtol=0
    )
    assert float(mouth_opening(opened, model)) > float(mouth_opening(rest, model)) + 0.1
    only_lower = shape_vertices(None, torch.eye(2 * width)[:1], model)
    assert float((only_lower - rest)[0, model.lower_weight == 0].abs().max()) == 0
    points = project(opened, torch.zeros(1, 3), torch.tensor([[64.0, 64]]), torch.tensor([50.0]))
    pncc = draw_pncc(points, model, (128, 128))
    drawn = model.region[pncc.triangle[pncc.triangle >= 0]]
    assert int((drawn == Region.MOUTH_CAVITY).sum()) > 10 and int((drawn == Region.FACE).sum()) > 2000


def test_bfm09(bfm, foreign):
    check(load_any_face_model(bfm), foreign, 2)


def test_flame(foreign, landmarks, tmp_path):
    shapes = np.zeros((468, 3, 302))
    shapes[:, :, :3] = np.moveaxis(foreign["identity"], 0, -1)
    shapes[:, :, 300:] = np.moveaxis(foreign["expression"], 0, -1)
    np.savez(tmp_path / "flame.npz", v_template=foreign["mean"], shapedirs=shapes, f=foreign["triangles"])
    model = load_any_face_model(tmp_path / "flame.npz", landmarks)
    check(model, foreign, 2)
    assert model.identity_count == 300


def test_ict(foreign, landmarks, tmp_path):
    folder = tmp_path / "ict"
    folder.mkdir()
    faces = "".join(f"f {a}/1/1 {b}/1/1 {c}/1/1\n" for a, b, c in (foreign["triangles"] + 1).tolist())

    def write(name, vertices):
        (folder / f"{name}.obj").write_text(
            "".join(f"v {x:.8f} {y:.8f} {z:.8f}\n" for x, y, z in vertices.tolist()) + faces
        )

    write("generic_neutral_mesh", foreign["mean"])
    for k in range(3):
        write(f"identity{k:03d}", foreign["mean"] + foreign["identity"][k])
    for name, offset in zip(("jawOpen", "mouthPucker"), foreign["expression"], strict=True):
        write(name, foreign["mean"] + offset)
    model = load_any_face_model(folder, landmarks)
    check(model, foreign, 2)
    assert model.direction_names == (
        "jawOpen.lower",
        "mouthPucker.lower",
        "jawOpen.upper",
        "mouthPucker.upper",
    )


def test_an_adopted_model_is_saved_and_loaded_like_our_own(bfm, tmp_path):
    model = load_any_face_model(bfm)
    assert model.sha256 == load_any_face_model(bfm).sha256
    sha256 = save_face_model(tmp_path / "bfm.safetensors", model)
    again = load_any_face_model(tmp_path / "bfm.safetensors")
    assert (
        again.sha256 == sha256
        and torch.equal(again.mean, model.mean)
        and again.direction_names == model.direction_names
    )


def test_missing_files_say_why_none_is_shipped(tmp_path):
    with pytest.raises(WeightsError, match="may not be redistributed"):
        load_any_face_model(tmp_path / "BFM_model_front.mat")


def test_what_is_not_a_face_model_is_refused(tmp_path, landmarks, foreign):
    (tmp_path / "broken.mat").write_bytes(b"not a matlab file at all")
    (tmp_path / "flame.pkl").write_bytes(b"")
    (tmp_path / "face.txt").write_text("")
    savemat(tmp_path / "part.mat", {"meanshape": np.zeros((1, 9))})
    np.savez(tmp_path / "part.npz", v_template=np.zeros((3, 3)))
    np.savez(tmp_path / "object.npz", v_template=np.array([None]), shapedirs=np.zeros(1), f=np.zeros(1))
    (tmp_path / "folder").mkdir()
    for name, words in (
        ("broken.mat", "MATLAB"),
        ("flame.pkl", "pickle"),
        ("face.txt", "not a known"),
        ("part.mat", "idBase"),
        ("part.npz", "shapedirs"),
        ("object.npz", "without pickles"),
        ("folder", "generic_neutral_mesh"),
    ):
        with pytest.raises(WeightsError, match=words):
            load_any_face_model(tmp_path / name, landmarks)
    with pytest.raises(WeightsError, match="pass it as landmarks"):
        load_any_face_model(tmp_path / "part.npz")


def test_landmarks_that_do_not_fit_are_refused(foreign, tmp_path):
    shapes = np.zeros((468, 3, 301))
    np.savez(tmp_path / "flame.npz", v_template=foreign["mean"], shapedirs=shapes, f=foreign["triangles"])
    few, wrong = tmp_path / "few.json", tmp_path / "wrong.json"
    few.write_text(json.dumps({str(k): int(foreign["place"][k]) for k in NEEDED[1:]}))
    wrong.write_text(json.dumps({str(k): 9999 for k in NEEDED}))
    with pytest.raises(ShapeError, match="lack MediaPipe points"):
        load_any_face_model(tmp_path / "flame.npz", few)
    with pytest.raises(ShapeError, match="outside 0 to 467"):
        load_any_face_model(tmp_path / "flame.npz", wrong)


def test_a_model_that_looks_another_way_is_refused(bfm, foreign):
    turned = foreign["mean"] * [1, -1, -1]
    savemat(
        bfm,
        {
            "meanshape": turned.reshape(1, -1),
            "idBase": foreign["identity"].reshape(3, -1).T,
            "exBase": foreign["expression"].reshape(2, -1).T,
            "tri": foreign["triangles"] + 1,
            "keypoints": foreign["place"][list(IBUG_68)][None] + 1,
        },
    )
    with pytest.raises(ShapeError, match="y up"):
        load_bfm09(bfm)


def test_geometry_is_fitted_with_an_adopted_model(bfm):
    from personatalk_core.geometry.fitting import estimate_geometry
    from personatalk_core.types import FaceTrack

    own, model = load_face_model(), load_any_face_model(bfm)
    marks = np.zeros((6, 478, 3), np.float32)
    marks[:, :468] = (own.mean[:468] * torch.tensor([80.0, -80, 80]) + 150).numpy()
    track = FaceTrack(
        marks,
        np.zeros((6, 52), np.float32),
        np.zeros(6, np.uint8),
        np.zeros(6, np.int64),
        np.arange(6) / 25,
        (300, 300),
    )
    geometry = estimate_geometry(track, model)
    assert geometry.face_model == model.sha256
    assert float(geometry.rotation.abs().max()) < 0.02
    torch.testing.assert_close(
        geometry.scale,
        torch.full((6,), 80.0 * float((own.mean[263] - own.mean[33]).norm())),
        rtol=0.01,
        atol=0,
    )
    assert replace(geometry, source="x").source == "x"
