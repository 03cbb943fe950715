"""Give any linear face the interface of our own: canonical frame, index sets, lower face, colours, mouth cavity."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from scipy.spatial import cKDTree

from ..checks import check_shape
from ..errors import ShapeError
from ..weights.checkpoint import save_checkpoint
from .face_model import TENSORS, FaceModel, Region
from .procrustes import align_similarity
from .topology import CAVITY_DEPTH, strip

# The 68 points of iBUG 300-W as MediaPipe vertices: jaw 17, brows 10, nose 9, eyes 12, outer lips 12, inner lips 8.
IBUG_68 = (
    127, 234, 93, 132, 58, 136, 150, 176, 152, 400, 379, 365, 288, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91, 78, 81, 13, 311, 308, 402, 14, 178,
)  # fmt: skip
OUTER_RING = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)  # right corner, upper, left corner, lower back
INNER_RING = (78, 81, 13, 311, 308, 402, 14, 178)
NEEDED = sorted({33, 263, *OUTER_RING, *INNER_RING})


def adopt_face_model(
    mean: np.ndarray,
    identity_basis: np.ndarray,
    expression_basis: np.ndarray,
    triangles: np.ndarray,
    landmarks: Mapping[int, int],
    like: FaceModel,
    names: Sequence[str] = (),
) -> FaceModel:
    """Make a FaceModel of another mesh.

    The lower and upper face are told apart as on the bundled model, by the nearest place on it; every expression component
    is split there into one that moves the lower face and one that moves the rest. A mouth cavity is added; a skirt is not.
    Args:
        mean:             (V, 3), any unit, x to the image's right, y up, z to the viewer.
        identity_basis:   (A, V, 3) and expression_basis (E, V, 3): one standard deviation each.
        triangles:        (F, 3) vertex ids from 0.
        landmarks:        MediaPipe landmark id to vertex; at least eye and lip points (``NEEDED``).
        like:             the bundled face model.
        names:            of the E expression components, or empty.
    Raises:
        ShapeError: arrays that do not fit together, or landmarks that are missing or name no vertex.
    """
    count = check_shape("mean", mean, "V", 3)["V"]
    check_shape("identity basis", identity_basis, "A", count, 3)
    width = check_shape("expression basis", expression_basis, "E", count, 3)["E"]
    check_shape("triangles", triangles, "F", 3)
    missing = [k for k in NEEDED if k not in landmarks]
    if missing:
        raise ShapeError(f"landmarks lack MediaPipe points {missing[:5]}; a face model needs the vertices of {NEEDED}.")
    if not all(0 <= v < count for v in landmarks.values()) or int(triangles.max()) >= count:
        raise ShapeError(f"landmarks or triangles name vertices outside 0 to {count - 1}; give the files of the same mesh.")
    mean, scale = _canonical(mean, landmarks, like)
    nearest = cKDTree(like.mean[:468].numpy()).query(mean)[1]
    ring = np.array([landmarks[k] for k in INNER_RING])
    cavity = np.arange(count, count + len(ring))
    lower = like.lower_weight[nearest].numpy()
    split = np.concatenate([expression_basis * lower[:, None], expression_basis * (1 - lower[:, None])])

    def grown(array: np.ndarray) -> torch.Tensor:
        """With the cavity's vertices, which follow the inner lips."""
        return torch.from_numpy(np.ascontiguousarray(np.concatenate([array, array[..., ring, :]], -2), np.float32))

    whole = grown(mean)
    whole[cavity, 2] -= CAVITY_DEPTH
    own = cavity[strip(np.arange(len(ring)))]
    colour = _colours(whole.numpy(), count, len(ring))
    everywhere = np.concatenate([nearest, nearest[ring]])
    known = sorted(landmarks)
    doubled = [f"{name}{part}" for part in (".lower", ".upper") for name in names]
    model = FaceModel(
        mean=whole, identity_basis=grown(identity_basis * scale), expression_basis=grown(split * scale), lower_count=width,
        triangles=torch.from_numpy(np.concatenate([triangles, own]).astype(np.int64)),
        region=torch.tensor([Region.FACE] * len(triangles) + [Region.MOUTH_CAVITY] * len(own), dtype=torch.uint8),
        pncc_colour=torch.from_numpy(colour), lower_weight=like.lower_weight[everywhere], lips=_lips(nearest, like),
        inner_lips=torch.from_numpy(ring), outer_lips=torch.tensor([landmarks[k] for k in OUTER_RING]),
        eye_corners=torch.tensor([landmarks[33], landmarks[263]]), mouth_corners=torch.tensor([landmarks[78], landmarks[308]]),
        landmark_vertex=torch.tensor([landmarks[k] for k in known]), landmark_id=torch.tensor(known),
        rigid_weight=like.rigid_weight[everywhere],
        mirror=torch.from_numpy(cKDTree(whole.numpy()).query(whole.numpy() * [-1, 1, 1])[1]),
        directions=torch.eye(2 * width)[: len(doubled)], direction_names=tuple(doubled),
    )  # fmt: skip
    return replace(model, sha256=_identity_of(model))


def save_face_model(path, face_model: FaceModel, *, licence: str = "", card: str = "") -> str:
    """Write a face model that ``load_face_model`` reads; returns the file's sha256, its identity from then on."""
    tensors = {name: getattr(face_model, name) for name in TENSORS}
    config = {"lower_count": face_model.lower_count, "direction_names": list(face_model.direction_names)}
    return save_checkpoint(path, tensors, kind="face_model", config=config, licence=licence, card=card)


def _canonical(mean: np.ndarray, landmarks: Mapping[int, int], like: FaceModel) -> tuple[np.ndarray, float]:
    """Turn upright like the bundled model, eye corners 1 apart, centroid at the origin; the factor of scale is returned."""
    known = sorted(landmarks)
    source = torch.from_numpy(mean[[landmarks[k] for k in known]]).float()
    rotation, _, _ = align_similarity(source, like.mean[known], torch.ones(len(known)))
    if float(torch.rad2deg(torch.arccos(((rotation[0].trace() - 1) / 2).clamp(-1, 1)))) > 60:
        raise ShapeError("the face model does not look along z with y up; turn it (x right, y up, z to the viewer) or check its landmarks.")
    scale = 1 / float(np.linalg.norm(mean[landmarks[33]] - mean[landmarks[263]]))
    return (mean - mean.mean(0)) * scale, scale


def _colours(vertices: np.ndarray, face: int, ring: int) -> np.ndarray:
    """Normalised coordinates for skin; for the cavity red across, green from upper to lower lip, blue 0."""
    low, high = vertices[:face].min(0), vertices[:face].max(0)
    colour = 0.1 + 0.9 * (vertices - low) / (high - low)
    half = ring // 2
    across = np.linspace(0.3, 0.7, half + 1)
    colour[face:, 0] = np.concatenate([across, across[half - 1 : 0 : -1]])
    colour[face:, 1] = np.concatenate([[0.5], np.full(half - 1, 0.7), [0.5], np.full(half - 1, 0.3)])
    colour[face:, 2] = 0
    return np.clip(colour, 0, 1).astype(np.float32)


def _lips(nearest: np.ndarray, like: FaceModel) -> torch.Tensor:
    """Vertices whose nearest place on the bundled model is on the red of its lips."""
    return torch.from_numpy(np.isin(nearest, like.lips.numpy()).nonzero()[0])


def _identity_of(model: FaceModel) -> str:
    """sha256 over all its arrays: the same files give the same identity."""
    digest = hashlib.sha256()
    for field in fields(model):
        value = getattr(model, field.name)
        if isinstance(value, torch.Tensor):
            digest.update(field.name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()
