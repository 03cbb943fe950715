"""Exported meshes are read back by a reader of our own."""

import json
import struct

import numpy as np
import torch

from personatalk_core.geometry.camera import rotation_matrix
from personatalk_core.geometry.export import drawn_triangles, quaternions, write_glb, write_obj_sequence
from personatalk_core.geometry.vertices import canonical_vertices


def read_glb(path):
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<III", data)
    assert (magic, version, length) == (0x46546C67, 2, len(data))
    size, kind = struct.unpack_from("<II", data, 12)
    assert kind == 0x4E4F534A and size % 4 == 0
    document, binary = json.loads(data[20 : 20 + size]), data[28 + size :]

    def array(number):
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        dtype = {5126: np.float32, 5125: np.uint32}[accessor["componentType"]]
        values = np.frombuffer(binary, dtype, view["byteLength"] // 4, view["byteOffset"])
        return values.reshape(accessor["count"], -1)

    return document, array


def test_obj_files_hold_the_canonical_vertices(moving_geometry, face_model, tmp_path):
    paths = write_obj_sequence(tmp_path, moving_geometry, face_model)
    assert [p.name for p in paths[:2]] == ["frame_00000.obj", "frame_00001.obj"] and len(paths) == 8
    lines = paths[3].read_text().splitlines()
    vertices = np.array([[float(v) for v in line.split()[1:]] for line in lines if line.startswith("v ")])
    faces = np.array([[int(v) for v in line.split()[1:]] for line in lines if line.startswith("f ")])
    np.testing.assert_allclose(vertices, canonical_vertices(moving_geometry, face_model)[3], atol=1e-6)
    assert np.array_equal(faces - 1, drawn_triangles(face_model).numpy())


def test_a_glb_rebuilds_every_frame(moving_geometry, face_model, tmp_path):
    write_glb(tmp_path / "a.glb", moving_geometry, face_model)
    document, array = read_glb(tmp_path / "a.glb")
    primitive = document["meshes"][0]["primitives"][0]
    animation = document["animations"][0]
    outputs = {
        c["target"]["path"]: array(animation["samplers"][c["sampler"]]["output"])
        for c in animation["channels"]
    }
    weights = outputs["weights"].reshape(8, -1)
    targets = np.stack([array(t["POSITION"]) for t in primitive["targets"]])
    rebuilt = array(primitive["attributes"]["POSITION"]) + np.einsum("te,evc->tvc", weights, targets)
    np.testing.assert_allclose(rebuilt, canonical_vertices(moving_geometry, face_model), atol=1e-5)
    assert int(array(primitive["indices"]).max()) < len(targets[0])
    np.testing.assert_allclose(array(animation["samplers"][0]["input"])[:, 0], np.arange(8) / 25, atol=1e-6)
    np.testing.assert_allclose(outputs["scale"][:, 0], (70 + np.arange(8)) / 70, rtol=1e-6)


def test_quaternions_turn_like_their_matrices():
    vectors = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    x, y, z, w = quaternions(rotation_matrix(vectors)).unbind(1)
    half = vectors.norm(dim=1) / 2
    sign = torch.where(torch.cos(half) < 0, -1.0, 1.0)
    torch.testing.assert_close(w, torch.cos(half) * sign, atol=1e-4, rtol=0)
    expected = vectors / vectors.norm(dim=1, keepdim=True) * (torch.sin(half) * sign)[:, None]
    torch.testing.assert_close(torch.stack([x, y, z], 1), expected, atol=1e-4, rtol=0)
