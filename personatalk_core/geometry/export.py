"""Expression coefficients as named ARKit scores, and files of them that animation tools read."""

from __future__ import annotations

import csv
import io
import json
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..checks import check_shape
from ..errors import ShapeError
from ..types import FaceGeometry
from ..weights.checkpoint import write_atomically
from .camera import rotation_matrix
from .face_model import FaceModel, Region
from .vertices import canonical_vertices, template_vertices

STEPS = 300
# of the mean squared length of a direction: prefers few small scores among those that look alike
RIDGE = 0.05


def blendshape_scores(expression: Tensor, face_model: FaceModel) -> tuple[Tensor, tuple[str, ...]]:
    """The scores in [0, 1] whose named directions come nearest to the expression.

    Args:
        expression: (T, E).
    Returns:
        scores (T, N) and their names; MediaPipe's ``_neutral`` is left out.
    Raises:
        ShapeError: the face model has no named directions, or the width is not its own.
    """
    check_shape("expression", expression, "T", face_model.expression_count)
    keep = [k for k, name in enumerate(face_model.direction_names) if not name.startswith("_")]
    if not keep:
        raise ShapeError(
            "this face model has no named expression directions, so there are no scores; use the bundled "
            "face model."
        )
    directions = face_model.directions[keep].double()
    gram = directions @ directions.T
    gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(keep), dtype=gram.dtype)
    right = expression.double() @ directions.T
    step = 1 / torch.linalg.matrix_norm(gram, 2)
    scores = momentum = torch.zeros_like(right)
    for k in range(STEPS):  # projected gradient with Nesterov's momentum
        following = (momentum - step * (momentum @ gram - right)).clamp(0, 1)
        momentum = following + k / (k + 3) * (following - scores)
        scores = following
    return scores.float(), tuple(face_model.direction_names[k] for k in keep)


def head_angles(geometry: FaceGeometry) -> Tensor:
    """(T, 3) yaw, pitch, roll in radians: looking to the image's right, up, and leaning to the image's right
    are positive."""
    rotation = rotation_matrix(geometry.rotation)
    yaw = torch.atan2(rotation[:, 0, 2], rotation[:, 2, 2])
    pitch = torch.asin(rotation[:, 1, 2].clamp(-1, 1))
    roll = torch.atan2(-rotation[:, 1, 0], rotation[:, 1, 1])
    return torch.stack([yaw, pitch, roll], 1)


def write_arkit_csv(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> None:
    """One row a frame: Timecode in seconds, BlendShapeCount, the scores under ARKit's names, HeadYaw,
    HeadPitch, HeadRoll."""
    scores, names = blendshape_scores(geometry.expression, face_model)
    angles = head_angles(geometry)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    titles = [name[0].upper() + name[1:] for name in names]
    writer.writerow(["Timecode", "BlendShapeCount", *titles, "HeadYaw", "HeadPitch", "HeadRoll"])
    for t in range(geometry.frame_count):
        values = [f"{float(v):.6f}" for v in (*scores[t], *angles[t])]
        writer.writerow([f"{float(geometry.times[t]):.6f}", len(names) + 3, *values])
    write_atomically(Path(path), text.getvalue().encode())


def write_live_link_json(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> None:
    """Live-Link-style frames: time, blendShapes by name, head as yaw, pitch and roll in radians."""
    scores, names = blendshape_scores(geometry.expression, face_model)
    angles = head_angles(geometry)
    frames = [
        {
            "time": round(float(geometry.times[t]), 6),
            "blendShapes": {
                name: round(float(score), 6) for name, score in zip(names, scores[t], strict=True)
            },
            "head": dict(zip(("yaw", "pitch", "roll"), (round(float(v), 6) for v in angles[t]), strict=True)),
        }
        for t in range(geometry.frame_count)
    ]
    write_atomically(Path(path), json.dumps({"version": 1, "names": list(names), "frames": frames}).encode())


FLOAT, UNSIGNED_INT = 5126, 5125  # glTF component types
VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963  # glTF buffer targets


def drawn_triangles(face_model: FaceModel) -> torch.Tensor:
    """(F', 3) triangles of face, eyes and mouth cavity, without the skirt."""
    return face_model.triangles[face_model.region != Region.SKIRT]


def write_obj_sequence(folder: Path, geometry: FaceGeometry, face_model: FaceModel) -> list[Path]:
    """Write ``frame_00000.obj`` and so on: the person's canonical face without head pose, one file a
    frame."""
    faces = "".join(f"f {a} {b} {c}\n" for a, b, c in (drawn_triangles(face_model) + 1).tolist())
    paths = []
    for t, vertices in enumerate(canonical_vertices(geometry, face_model)):
        paths.append(Path(folder) / f"frame_{t:05d}.obj")
        lines = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices.tolist())
        write_atomically(paths[-1], (lines + faces).encode())
    return paths


def write_glb(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> None:
    """Write one glTF 2.0 binary: the person's face at rest, a morph target for each expression component, and
    an animation of their weights and of the head's rotation, position and size. Units: the first seen size is
    1; y up, z to the viewer."""
    # the head's place in units of its first size, y up
    rest = template_vertices(geometry, face_model).numpy()
    unit = float(geometry.scale[0])
    height, width = geometry.frame_size
    centred = geometry.translation - geometry.translation.new_tensor([width / 2, height / 2])
    position = torch.cat([centred * centred.new_tensor([1, -1]) / unit, torch.zeros(len(centred), 1)], 1)
    size = (geometry.scale / unit)[:, None].expand(-1, 3)

    # the mesh: the face at rest, and a morph target a component
    buffer = _Buffer()
    mesh = {
        "attributes": {"POSITION": buffer.add(rest, "VEC3", VERTEX_BUFFER, bounds=True)},
        "indices": buffer.add(
            drawn_triangles(face_model).numpy().reshape(-1).astype(np.uint32), "SCALAR", INDEX_BUFFER
        ),
        "targets": [
            {"POSITION": buffer.add(b, "VEC3", VERTEX_BUFFER, bounds=True)}
            for b in face_model.expression_basis.numpy()
        ],
    }

    # the animation: weights of the targets, and the head's pose
    moments = buffer.add(geometry.times.numpy().astype(np.float32), "SCALAR", None, bounds=True)
    tracks = {
        "weights": buffer.add(geometry.expression.numpy().reshape(-1), "SCALAR", None),
        "rotation": buffer.add(quaternions(rotation_matrix(geometry.rotation)).numpy(), "VEC4", None),
        "translation": buffer.add(position.numpy(), "VEC3", None),
        "scale": buffer.add(size.numpy(), "VEC3", None),
    }

    # the document, then both parts of the binary file
    document = {
        "asset": {"version": "2.0", "generator": "PersonaTalk"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": "face"}],
        "meshes": [{"primitives": [mesh], "weights": [0.0] * face_model.expression_count}],
        "animations": [
            {
                "samplers": [{"input": moments, "output": output} for output in tracks.values()],
                "channels": [
                    {"sampler": k, "target": {"node": 0, "path": name}} for k, name in enumerate(tracks)
                ],
            }
        ],
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data)}],
    }
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    binary = bytes(buffer.data)
    chunks = (
        struct.pack("<II", len(text), 0x4E4F534A)
        + text
        + struct.pack("<II", len(binary), 0x004E4942)
        + binary
    )
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
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes} | (
            {"target": target} if target else {}
        )
        self.data += array.tobytes()
        accessor = {
            "bufferView": len(self.views),
            "componentType": UNSIGNED_INT if array.dtype == np.uint32 else FLOAT,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            table = array.reshape(len(array), -1)
            accessor |= {"min": table.min(0).tolist(), "max": table.max(0).tolist()}
        self.views.append(view)
        self.accessors.append(accessor)
        return len(self.accessors) - 1
