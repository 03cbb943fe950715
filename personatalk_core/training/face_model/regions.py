"""Which vertices speak, which move only with the head, which are lips, and the colour of each: decided on the
mean face."""

from __future__ import annotations

import numpy as np

from ...geometry import topology as mesh


def lower_face_weight(mean: np.ndarray) -> np.ndarray:
    """(V,) 1 on lips, chin and jaw, 0 on nose, eyes and forehead; the seam runs below the nose and rises over
    the cheeks."""
    x, y = np.abs(mean[:, 0]), mean[:, 1]
    aside = smoothstep((x - 0.12) / 0.35)
    top = (1 - aside) * mean[mesh.NOSE_BASE, 1] + aside * (mean[mesh.NOSE_TIP, 1] + 0.10)
    bottom = (1 - aside) * (mean[mesh.UPPER_LIP_TOP, 1] + 0.005) + aside * (mean[mesh.NOSE_BASE, 1] - 0.15)
    return smoothstep((top - y) / (top - bottom)).astype(np.float32)


def rigid_weight(mean: np.ndarray) -> np.ndarray:
    """(V,) 1 where only the head moves: the upper face without lids and brows, a little on the brows."""
    weight = (1 - lower_face_weight(mean)) ** 2
    weight[list(mesh.BROWS)] *= 0.2
    lids = np.array(mesh.RIGHT_EYE + mesh.LEFT_EYE)
    weight[[v for v in lids if v not in (33, 133, 263, 362)]] *= 0.1
    return weight.astype(np.float32)


def smoothstep(x: np.ndarray) -> np.ndarray:
    """3 x^2 - 2 x^3 on [0, 1], constant outside."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def pncc_colours(vertices: np.ndarray) -> np.ndarray:
    """(V, 3) normalised canonical coordinates of the mean face; the cavity has a patch of its own where no
    skin is.

    Skin: each axis mapped to [0.1, 1]. Cavity: red along the width, green from upper to lower lip, blue 0.
    Skirt: the same map as the skin, continued and held inside [0.02, 1].
    """
    face = vertices[: mesh.FACE_VERTICES]
    low, high = face.min(0), face.max(0)
    colours = np.clip(0.1 + 0.9 * (vertices - low) / (high - low), 0.02, 1)
    half = len(mesh.INNER_LIPS) // 2
    across = np.linspace(0.3, 0.7, half + 1)
    colours[mesh.CAVITY_START : mesh.SKIRT_START, 0] = np.concatenate([across, across[half - 1 : 0 : -1]])
    colours[mesh.CAVITY_START : mesh.SKIRT_START, 1] = np.concatenate(
        [[0.5], np.full(half - 1, 0.7), [0.5], np.full(half - 1, 0.3)]
    )
    colours[mesh.CAVITY_START : mesh.SKIRT_START, 2] = 0
    return colours.astype(np.float32)


def lip_vertices() -> np.ndarray:
    """Vertices of the red of the lips: those of triangles between the outer and the inner ring."""
    triangles = mesh.face_triangles()
    ring = set(mesh.INNER_LIPS) | set(mesh.OUTER_LIPS)
    found, grown = set(ring), True
    while grown:  # grow inwards from the inner ring without crossing the outer one
        grown = False
        for face in triangles.tolist():
            inside = [v for v in face if v in found and v not in mesh.OUTER_LIPS]
            fresh = [v for v in face if v not in found]
            if inside and fresh:
                found.update(fresh)
                grown = True
    return np.array(sorted(found), np.int64)
