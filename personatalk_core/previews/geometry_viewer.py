"""A moving face as one compact file for the viewer on the page.

Layout, little-endian: a 4-byte length, that many bytes of JSON, padding to 4 bytes, then the arrays that the
JSON names, each padded to 4 bytes: ``triangles`` uint16 (F, 3); ``source`` and ``target`` int16 (T, V, 3),
canonical coordinates in steps of ``unit``; ``rotation`` float32 (T, 3) axis-angle. ``source`` is there for
generated geometry only.
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
    """Write the mesh of every frame, and of the source under it where the geometry was generated.

    Args:
        geometry: T frames; of more than MAX_VIEW_FRAMES only every second, third ... is written.
    Returns:
        ``path``.
    """
    step = -(-geometry.frame_count // MAX_VIEW_FRAMES)
    rows = torch.arange(0, geometry.frame_count, step)
    triangles = face_model.triangles[face_model.region != int(Region.SKIRT)]
    arrays = {
        "triangles": triangles.numpy().astype("<u2"),
        "target": _quantised(geometry[rows], face_model),
    }
    if geometry.reference is not None:
        arrays["source"] = _quantised(geometry.reference[geometry.source_frame[rows]], face_model)
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
    chunks = [
        len(text).to_bytes(4, "little"),
        _padded(text),
        *(_padded(array.tobytes()) for array in arrays.values()),
    ]
    write_atomically(Path(path), b"".join(chunks))
    return Path(path)


def _quantised(geometry: FaceGeometry, face_model: FaceModel) -> np.ndarray:
    """(T, V, 3) int16 canonical vertices in steps of UNIT."""
    vertices = canonical_vertices(geometry, face_model).numpy() / UNIT
    return np.rint(vertices).clip(-32768, 32767).astype("<i2")


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
