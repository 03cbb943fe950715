"""The mesh: MediaPipe's 468 face vertices, closed over the eyes and the mouth, and continued outside the face
oval.

Vertex order: 468 MediaPipe vertices, 20 cavity copies of the inner lip ring (reaching a little under the
lips), ``SKIRT_RINGS`` rings of 36 outside the face oval. "Upper", "left" and "right" are the person's in the
canonical frame (y up, x to the image's right, so the person's right eye, vertex 33, has negative x). Knows
nothing of data: positions come from a face model.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..errors import DependencyError
from .face_model import FaceModel, Region

FACE_VERTICES = 468
INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
OUTER_LIPS = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
RIGHT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
LEFT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
FACE_OVAL = tuple(
    int(number)
    for number in (
        "10 338 297 332 284 251 389 356 454 323 361 288 397 365 379 378 400 377 152 148 176 149 150 136 "
        "172 58 132 93 234 127 162 21 54 103 67 109"
    ).split()
)
EYE_CORNERS = (33, 263)  # outer, right then left
MOUTH_CORNERS = (78, 308)  # inner, right then left
BROWS = (70, 63, 105, 66, 107, 46, 53, 52, 65, 55, 300, 293, 334, 296, 336, 276, 283, 282, 295, 285)
NOSE_TIP, NOSE_BASE, UPPER_LIP_TOP, CHIN = 4, 2, 0, 152
SKIRT_GROWTH = (0.10, 0.26)  # outward step of each ring, as a fraction of the distance to the oval's centre
# share of the oval's expression each ring takes; the outermost moves with the head only
SKIRT_FOLLOWS = (0.5, 0.0)
SKIRT_RINGS = len(SKIRT_GROWTH)
CAVITY_DEPTH = 0.03  # canonical units behind the lips, so that lips win where they touch
# how far the cavity reaches under the lips, towards the outer ring: no holes from the side
CAVITY_UNDER_LIPS = 0.25
CAVITY_START = FACE_VERTICES
SKIRT_START = CAVITY_START + len(INNER_LIPS)
VERTEX_COUNT = SKIRT_START + SKIRT_RINGS * len(FACE_OVAL)


def face_triangles() -> np.ndarray:
    """The 852 triangles of MediaPipe's tessellation: every three edges of its edge list close one.

    Returns:
        (852, 3) int64.
    Raises:
        DependencyError: mediapipe is missing (it is needed to learn a face model, not to load one).
    """
    try:
        from mediapipe.tasks.python.vision.face_landmarker import FaceLandmarksConnections
    except (ImportError, OSError) as error:
        raise DependencyError(
            f"mediapipe cannot be loaded ({error}); install it to learn a face model."
        ) from error
    edges = [(edge.start, edge.end) for edge in FaceLandmarksConnections.FACE_LANDMARKS_TESSELATION]
    return np.array([[a, b, c] for (a, b), (_, c) in zip(edges[0::3], edges[1::3], strict=True)], np.int64)


def strip(ring: tuple[int, ...] | np.ndarray) -> np.ndarray:
    """Close a ring (corner, upper row, corner, lower row back) with triangles between its two rows: (n - 2,
    3) int64."""
    half = len(ring) // 2
    upper = list(ring[: half + 1])
    lower = [ring[0], *list(ring[:half:-1]), ring[half]]
    faces = []
    for i in range(half):
        faces += [(upper[i], lower[i], lower[i + 1]), (upper[i], lower[i + 1], upper[i + 1])]
    return np.array([f for f in faces if len(set(f)) == 3], np.int64)


def cavity_triangles() -> np.ndarray:
    """(18, 3) int64 between the upper and the lower row of the cavity vertices."""
    return strip(np.arange(CAVITY_START, SKIRT_START))


def skirt_triangles() -> np.ndarray:
    """(36 * 2 * SKIRT_RINGS, 3) int64 from the face oval outwards."""
    count = len(FACE_OVAL)
    rings = [np.array(FACE_OVAL)] + [SKIRT_START + r * count + np.arange(count) for r in range(SKIRT_RINGS)]
    faces = []
    for inner, outer in itertools.pairwise(rings):
        following = np.roll(np.arange(count), -1)
        faces += [
            np.stack([inner, inner[following], outer], 1),
            np.stack([outer, inner[following], outer[following]], 1),
        ]
    return np.concatenate(faces).astype(np.int64)


def oriented(triangles: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """The same triangles, each turned counter-clockwise as seen by the viewer (normal towards +z) on the
    given shape."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    flip = np.cross(b - a, c - a)[:, 2] < 0
    return np.where(flip[:, None], triangles[:, [0, 2, 1]], triangles)


def extended(face: np.ndarray, *, follows: bool) -> np.ndarray:
    """Add cavity and skirt vertices as linear functions of the face vertices.

    Args:
        face:    (..., 468, 3) positions, or offsets of a basis.
        follows: offsets of an expression: each skirt ring takes ``SKIRT_FOLLOWS`` of them; otherwise all.
    Returns:
        (..., V, 3). Constant offsets (:func:`constant_offsets`) are not included.
    """
    oval = face[..., FACE_OVAL, :]
    centre = oval.mean(axis=-2, keepdims=True)
    rings = []
    for growth, share in zip(SKIRT_GROWTH, SKIRT_FOLLOWS, strict=True):
        rings.append(share * oval if follows else oval + growth * (oval - centre))
    cavity = (1 - CAVITY_UNDER_LIPS) * face[..., INNER_LIPS, :] + CAVITY_UNDER_LIPS * face[..., OUTER_LIPS, :]
    return np.concatenate([face, cavity, *rings], axis=-2).astype(face.dtype)


def constant_offsets() -> np.ndarray:
    """(V, 3): added to the mean only: the cavity lies behind the lips, the skirt falls back from the face."""
    offsets = np.zeros((VERTEX_COUNT, 3), np.float32)
    offsets[CAVITY_START:SKIRT_START, 2] = -CAVITY_DEPTH
    for ring in range(SKIRT_RINGS):
        start = SKIRT_START + ring * len(FACE_OVAL)
        offsets[start : start + len(FACE_OVAL), 2] = -SKIRT_GROWTH[ring]
    return offsets


@dataclass(frozen=True, eq=False)
class CavityWalls:
    """triangles (N, 3) from inner lips to cavity.  owner (N,): the cavity's triangle of the face model that a
    wall counts as. carry (N, 3, 3): weights in the wall's corners, times this, are weights in the owner's."""

    triangles: Tensor
    owner: Tensor
    carry: Tensor


@lru_cache(maxsize=8)
def cavity_walls(face_model: FaceModel) -> CavityWalls:
    """The walls of a face model whose cavity has one vertex for each of the inner lips, in their order; else
    none."""
    inside = (face_model.region == int(Region.MOUTH_CAVITY)).nonzero()[:, 0]
    patch = face_model.triangles[inside]
    cavity, lips = patch.unique(), face_model.inner_lips
    device = lips.device
    if len(cavity) != len(lips):
        return CavityWalls(patch[:0], inside[:0], torch.zeros((0, 3, 3), device=device))
    edges = {
        frozenset(pair): k for k, (a, b, c) in enumerate(patch.tolist()) for pair in ((a, b), (b, c), (c, a))
    }
    ring, behind = lips.tolist(), cavity.tolist()
    triangles, owner, carry = [], [], []
    for k in range(len(ring)):
        after = (k + 1) % len(ring)
        own = edges[frozenset((behind[k], behind[after]))]
        corners = patch[own].tolist()
        for wall, stands_for in (
            ((ring[k], ring[after], behind[k]), (behind[k], behind[after], behind[k])),
            ((behind[k], ring[after], behind[after]), (behind[k], behind[after], behind[after])),
        ):
            triangles.append(wall)
            owner.append(int(inside[own]))
            carry.append([[float(corner == vertex) for corner in corners] for vertex in stands_for])
    return CavityWalls(
        torch.tensor(triangles, device=device),
        torch.tensor(owner, device=device),
        torch.tensor(carry, device=device),
    )
