"""Geometry as meshes for other tools: a numbered sequence of OBJ files, or one animated GLB."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import torch

from ..types import FaceGeometry
from ..weights.checkpoint import write_atomically
from .camera import rotation_matrix
from .face_model import FaceModel, Region
from .vertices import canonical_vertices, template_vertices

FLOAT, UNSIGNED_INT = 5126, 5125  # glTF component types
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963  # glTF buffer targets


def drawn_triangles(face_model: FaceModel) -> torch.Tensor:
    """(F', 3) triangles of face, eyes and mouth cavity, without the skirt."""
    return face_model.triangles[face_model.region != Region.SKIRT]


def write_obj_sequence(folder: Path, geometry: FaceGeometry, face_model: FaceModel) -> list[Path]:
    """Write ``frame_00000.obj`` and so on: the person's canonical face without head pose, one file a frame."""
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in (drawn_triangles(face_model) + 1).tolist())
    paths = []
    for t, vertices in enumerate(canonical_vertices(geometry, face_model)):
        paths.append(Path(folder) / f"frame_{t:05d}.obj")
        lines = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices.tolist())
        write_atomically(paths[-1], (lines + faces).encode())
    return paths


def write_glb(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> None:
    """Write one glTF 2.0 binary: the person's face at rest, a morph target for each expression component, and an animation of
    their weights and of the head's rotation, position and size. Units: the first seen size is 1; y up, z to the viewer."""
    rest = template_vertices(geometry, face_model).numpy()
    unit = float(geometry.scale[0])
    height, width = geometry.frame_size
    centred = geometry.translation - geometry.translation.new_tensor([width / 2, height / 2])
    position = torch.cat([centred * centred.new_tensor([1, -1]) / unit, torch.zeros(len(centred), 1)], 1)
    size = (geometry.scale / unit)[:, None].expand(-1, 3)
    parts = _Buffer()
    mesh = {
        "attributes": {"POSITION": parts.add(rest, "VEC3", VERTEX_BUFFER, bounds=True)},
        "indices": parts.add(drawn_triangles(face_model).numpy().reshape(-1).astype(np.uint32), "SCALAR", INDEX_BUFFER),
        "targets": [{"POSITION": parts.add(b, "VEC3", VERTEX_BUFFER, bounds=True)} for b in face_model.expression_basis.numpy()],
    }
    moments = parts.add(geometry.times.numpy().astype(np.float32), "SCALAR", None, bounds=True)
    tracks = {
        "weights": parts.add(geometry.expression.numpy().reshape(-1), "SCALAR", None),
        "rotation": parts.add(quaternions(rotation_matrix(geometry.rotation)).numpy(), "VEC4", None),
        "translation": parts.add(position.numpy(), "VEC3", None),
        "scale": parts.add(size.numpy(), "VEC3", None),
    }
    document = {
        "asset": {"version": "2.0", "generator": "PersonaTalk"},
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"primitives": [mesh], "weights": [0.0] * face_model.expression_count}],
        "animations": [{
            "samplers": [{"input": moments, "output": output} for output in tracks.values()],
            "channels": [{"sampler": k, "target": {"node": 0, "path": name}} for k, name in enumerate(tracks)],
        }],
        "accessors": parts.accessors, "bufferViews": parts.views, "buffers": [{"byteLength": len(parts.data)}],
    }  # fmt: skip
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(parts.data)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    write_atomically(Path(path), struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks)


def quaternions(rotation: torch.Tensor) -> torch.Tensor:
    """(T, 3, 3) rotations to (T, 4) unit quaternions x, y, z, w with w >= 0."""
    diagonal = rotation.diagonal(dim1=1, dim2=2)
    signs = rotation.new_tensor([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1]])
    size = (1 + diagonal @ signs.T).clamp_min(0).sqrt() / 2  # |x|, |y|, |z|, |w|
    odd = rotation - rotation.mT
    axis = torch.stack([odd[:, 2, 1], odd[:, 0, 2], odd[:, 1, 0]], 1)
    vector = size[:, :3] * torch.where(axis < 0, -1.0, 1.0)
    result = torch.cat([vector, size[:, 3:]], 1)
    return result / result.norm(dim=1, keepdim=True)


class _Buffer:
    """Collects arrays into one glTF buffer."""

    def __init__(self) -> None:
        self.data, self.views, self.accessors = bytearray(), [], []

    def add(self, array: np.ndarray, kind: str, target: int | None, *, bounds: bool = False) -> int:
        """Append an array; returns its accessor number."""
        array = np.ascontiguousarray(array, np.uint32 if array.dtype == np.uint32 else np.float32)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes} | ({"target": target} if target else {})
        self.data += array.tobytes()
        accessor = {"bufferView": len(self.views), "componentType": UNSIGNED_INT if array.dtype == np.uint32 else FLOAT,
                    "count": len(array), "type": kind}  # fmt: skip
        if bounds:
            table = array.reshape(len(array), -1)
            accessor |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1
