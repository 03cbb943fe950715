"""A moving face as one compact file for a viewer on a web page.

Layout, little-endian: a 4-byte length, that many bytes of JSON, padding to 4 bytes, then the arrays the JSON
names, each
padded to 4 bytes: ``triangles`` uint16 (F, 3); ``source`` and ``target`` int16 (T, V, 3), canonical
coordinates over ``unit``; ``rotation`` float32 (T, 3) axis-angle. ``source`` is there for generated geometry
only.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ..geometry.face_model import FaceModel, Region
from ..geometry.vertices import canonical_vertices
from ..types import FaceGeometry
from ..weights.checkpoint import write_atomically

UNIT = 1 / 8192  # canonical units a step
MAX_VIEW_FRAMES = 1500  # a viewer holds this many; longer clips are thinned out


def write_viewer_file(path: Path, geometry: FaceGeometry, face_model: FaceModel) -> Path:
    """Write the mesh of every frame, and of the source under it where the geometry was generated. Returns the
    path."""
    step = -(-geometry.frame_count // MAX_VIEW_FRAMES)
    rows = torch.arange(0, geometry.frame_count, step)
    drawn = face_model.triangles[face_model.region != int(Region.SKIRT)]
    arrays = {
        "triangles": drawn.numpy().astype("<u2"),
        "target": _steps(geometry[rows], face_model),
    }
    if geometry.reference is not None:
        arrays["source"] = _steps(geometry.reference[geometry.source_frame[rows]], face_model)
    arrays["rotation"] = geometry.rotation[rows].numpy().astype("<f4")
    times = geometry.times[rows].double().tolist()
    header = {
        "unit": UNIT,
        "times": [round(time, 4) for time in times],
        "status": geometry.status[rows].tolist(),
        "arrays": [
            {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
            for name, array in arrays.items()
        ],
    }
    text = json.dumps(header).encode()
    pieces = [
        len(text).to_bytes(4, "little"),
        _padded(text),
        *(_padded(array.tobytes()) for array in arrays.values()),
    ]
    write_atomically(Path(path), b"".join(pieces))
    return Path(path)


def _steps(geometry: FaceGeometry, face_model: FaceModel) -> np.ndarray:
    vertices = canonical_vertices(geometry, face_model).numpy() / UNIT
    return np.rint(vertices).clip(-32768, 32767).astype("<i2")


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
