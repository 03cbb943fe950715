"""Learn the face model from tracked clips.

Paper: 3.1 uses a licensed 3DMM; this one is learned here instead. Generalised Procrustes on the rigid upper
    face, mirrored
data throughout, then: named directions by ridge regression of offsets on blendshape scores within a person;
identity from per-person neutral shapes; expression from offsets split smoothly into a lower and an upper
part, each with its own principal components. Every person counts the same however many clips there are.
Deterministic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from ...checks import check_shape
from ...errors import ShapeError
from ...geometry import topology as mesh
from ...geometry.camera import align_similarity
from ...geometry.face_model import Region
from ...types import OnProgress
from ...weights.checkpoint import save_checkpoint
from ..recipe import TRAIN_DEFAULTS, TrainOptions
from .regions import lip_vertices, lower_face_weight, pncc_colours, rigid_weight
from .tracks import TrackedClip, tracked_clips

# MediaPipe's order
BLENDSHAPE_NAMES = tuple(
    (
        "_neutral browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff "
        "cheekSquintLeft cheekSquintRight eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight "
        "eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight eyeLookUpLeft eyeLookUpRight "
        "eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight "
        "mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft "
        "mouthLowerDownLeft mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight "
        "mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper mouthSmileLeft mouthSmileRight "
        "mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight noseSneerLeft noseSneerRight"
    ).split()
)


@dataclass(frozen=True)
class FaceModelRecipe:
    """Sizes and weights of the learning."""

    identity_count: int = 60
    lower_count: int = 24
    upper_count: int = 20
    frames_per_person: int = 240
    alignments: int = 6
    ridge: float = 0.02  # of the mean squared score
    depth_weight: float = 0.5  # depth of the landmarker is guessed, so it counts less in the components
    lip_weight: float = 3.0


DEFAULT_RECIPE = FaceModelRecipe()


@dataclass(frozen=True, eq=False)
class LearnedFace:
    """What is learned of the 468 vertices V. centre (V, 3): the mean neutral face; identity (A, V, 3), lower
    and upper (E, V, 3): one standard deviation of each component; lower_weight (V,) in [0, 1]; mirror (V,):
    the vertex on the other side; directions (N, V, 3): what each blendshape score moves; metric (V, 3): how
    much a coordinate counts."""

    centre: np.ndarray
    identity: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    lower_weight: np.ndarray
    mirror: np.ndarray
    directions: np.ndarray
    metric: np.ndarray


def learn_face_model(
    clips: Sequence[TrackedClip],
    recipe: FaceModelRecipe = DEFAULT_RECIPE,
    direction_names: Sequence[str] = BLENDSHAPE_NAMES,
) -> tuple[dict, dict]:
    """Learn mean, bases, colours and directions.

    Args:
        clips:           frames with a face only.
        direction_names: names of the blendshape scores, in order; empty: no named directions.
    Returns:
        tensors and config of a ``face_model`` checkpoint.
    Raises:
        ShapeError: fewer than two people, or fewer frames than components.
    """
    # frames, one mean and what differs from it
    frames, scores, person = gather_frames(clips, recipe.frames_per_person)
    people = int(person.max()) + 1
    if people < 2 or len(frames) <= recipe.lower_count + recipe.upper_count:
        raise ShapeError(
            f"{len(frames)} frames of {people} people were given but a face model needs two people and "
            "more frames than components."
        )
    weight = 1.0 / np.bincount(person)[person] / people  # each person counts the same
    mean, aligned, mirror = align_generalised(frames, weight, recipe.alignments)
    lower_weight = lower_face_weight(mean)
    # named directions, and everybody's neutral face
    person_mean = np.stack([aligned[person == p].mean(0) for p in range(people)])
    offsets = aligned - person_mean[person]
    directions = blendshape_offsets(offsets, scores, person, weight, mirror, direction_names, recipe.ridge)
    score_mean = np.stack([scores[person == p].mean(0) for p in range(people)])
    neutral = person_mean - np.einsum("pn,nvc->pvc", score_mean, directions)
    centre = (neutral + mirrored(neutral, mirror)).mean(0) / 2
    # components of identity and of expression
    each = np.full(2 * people, 0.5 / people)
    identity = principal_components(
        symmetric(neutral - centre, mirror), each, np.ones_like(mean), recipe.identity_count
    )
    expression_offsets = symmetric(aligned - neutral[person], mirror)
    twice = np.concatenate([weight, weight]) / 2
    metric = component_metric(mean, recipe)
    lower = principal_components(
        expression_offsets * lower_weight[:, None], twice, metric, recipe.lower_count
    )
    upper = principal_components(
        expression_offsets * (1 - lower_weight[:, None]), twice, metric, recipe.upper_count
    )
    face = LearnedFace(centre, identity, lower, upper, lower_weight, mirror, directions, metric)
    tensors = face_model_tensors(face, len(direction_names))
    config = {
        "lower_count": len(lower),
        "direction_names": list(direction_names),
        "recipe": vars(recipe),
        "people": people,
        "frames": len(frames),
    }
    return tensors, config


def gather_frames(
    clips: Sequence[TrackedClip], frames_per_person: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Evenly spaced frames of each person: shapes (M, 468, 3) centred, eye distance 1, y up; scores (M, N);
    person (M,)."""
    names = sorted({clip.person for clip in clips})
    frames, scores, person = [], [], []
    for number, name in enumerate(names):
        filmed = [clip for clip in clips if clip.person == name]
        for clip in filmed:
            check_shape("landmarks", clip.landmarks, "T", 478, 3)
        marks = np.concatenate([clip.landmarks[:, : mesh.FACE_VERTICES] for clip in filmed]).astype(
            np.float32
        )
        score = np.concatenate([clip.blendshapes for clip in filmed]).astype(np.float32)
        pick = np.unique(np.linspace(0, len(marks) - 1, min(frames_per_person, len(marks))).astype(int))
        frames.append(marks[pick] * np.array([1, -1, 1], np.float32))
        scores.append(score[pick])
        person.append(np.full(len(pick), number))
    shapes = np.concatenate(frames)
    shapes -= shapes.mean(1, keepdims=True)
    right, left = mesh.EYE_CORNERS
    shapes /= np.linalg.norm(shapes[:, right] - shapes[:, left], axis=-1)[:, None, None]
    return shapes, np.concatenate(scores), np.concatenate(person)


def align_generalised(
    frames: np.ndarray, weight: np.ndarray, rounds: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Generalised Procrustes on the rigid upper face, with a symmetric mean whose outer eye corners are 1
    apart.

    Returns:
        mean (468, 3), aligned frames (M, 468, 3), mirror (468,).
    """
    mean = np.einsum("m,mvc->vc", weight, frames)
    rigid = np.ones(len(mean), np.float32)
    aligned, mirror = frames, np.arange(len(mean))
    for number in range(rounds):
        shapes, towards = torch.from_numpy(frames), torch.from_numpy(mean.astype(np.float32))
        rotation, scale, shift = align_similarity(shapes, towards, torch.from_numpy(rigid))
        aligned = (
            torch.einsum("tij,tvj->tvi", rotation * scale[:, None, None], shapes) + shift[:, None]
        ).numpy()
        mean = np.einsum("m,mvc->vc", weight, aligned)
        if number == 0:
            mean = mean - mean.mean(0)
            mirror = mirror_map(mean)
        mean = (mean + mirrored(mean, mirror)) / 2
        mean = mean - mean.mean(0)
        mean /= np.linalg.norm(mean[mesh.EYE_CORNERS[0]] - mean[mesh.EYE_CORNERS[1]])
        rigid = rigid_weight(mean)
    return mean, aligned, mirror


def mirror_map(mean: np.ndarray) -> np.ndarray:
    """(V,) the vertex on the other side, by the assignment nearest to a reflection of the shape."""
    distance = np.linalg.norm(mean[:, None] * np.array([-1, 1, 1]) - mean[None], axis=-1)
    mirror = linear_sum_assignment(distance + distance.T)[1]
    if not np.array_equal(mirror[mirror], np.arange(len(mirror))):
        raise ShapeError(
            "the mean face is not symmetric enough to pair its sides; use clips in which the faces look "
            "towards the camera."
        )
    return mirror


def mirrored(shapes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Shapes or offsets (..., V, 3) seen in a mirror."""
    return (shapes[..., mirror, :] * np.array([-1, 1, 1])).astype(shapes.dtype)


def symmetric(shapes: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """(M, V, 3) and their mirror images: (2 M, V, 3)."""
    return np.concatenate([shapes, mirrored(shapes, mirror)])


def component_metric(mean: np.ndarray, recipe: FaceModelRecipe) -> np.ndarray:
    """(V, 3) how much a coordinate counts when components are chosen."""
    metric = np.ones_like(mean)
    metric[list(mesh.INNER_LIPS + mesh.OUTER_LIPS)] *= recipe.lip_weight
    metric[:, 2] *= recipe.depth_weight
    return metric


def blendshape_offsets(
    offsets: np.ndarray,
    scores: np.ndarray,
    person: np.ndarray,
    weight: np.ndarray,
    mirror: np.ndarray,
    names: Sequence[str],
    ridge: float,
) -> np.ndarray:
    """(N, V, 3) what each score moves, by weighted ridge regression within people; Left and Right partners
    are mirror images."""
    count = scores.shape[1] if len(names) else 0
    if not count:
        return np.zeros((scores.shape[1], *offsets.shape[1:]), np.float32)
    centred = scores - np.stack([scores[person == p].mean(0) for p in range(person.max() + 1)])[person]
    swap = [names.index(partner_name(name)) for name in names]
    left = np.concatenate([centred, centred[:, swap]])
    right = symmetric(offsets, mirror).reshape(2 * len(offsets), -1)
    weights = np.concatenate([weight, weight])[:, None] / 2
    gram = (left * weights).T @ left
    penalty = ridge * np.trace(gram) / count
    solved = np.linalg.solve(gram + penalty * np.eye(count), (left * weights).T @ right)
    return solved.reshape(count, *offsets.shape[1:]).astype(np.float32)


def partner_name(name: str) -> str:
    """The name on the other side: jawLeft for jawRight, browInnerUp for itself."""
    return name.replace("Left", "\0").replace("Right", "Left").replace("\0", "Right")


def principal_components(data: np.ndarray, weight: np.ndarray, metric: np.ndarray, count: int) -> np.ndarray:
    """(count, V, 3) weighted principal components about zero, one standard deviation each, in the given
    metric."""
    flat = (data * metric).reshape(len(data), -1)
    covariance = (flat * weight[:, None]).T @ flat
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
    # the same bytes on every machine
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(vectors.shape[1])])
    basis = (vectors * np.sqrt(np.maximum(values, 1e-12))).T.reshape(-1, *data.shape[1:])
    return (basis / metric).astype(np.float32)


def face_model_tensors(face: LearnedFace, direction_count: int) -> dict[str, torch.Tensor]:
    """Extend the face by cavity and skirt; the tensors of a ``face_model`` checkpoint."""
    # vertices and triangles
    mirror, metric = face.mirror, face.metric
    expression = np.concatenate([face.lower, face.upper])
    mean = mesh.extended(face.centre, follows=False) + mesh.constant_offsets()
    parts = [
        (Region.FACE, mesh.face_triangles()),
        (Region.EYE, np.concatenate([mesh.strip(mesh.RIGHT_EYE), mesh.strip(mesh.LEFT_EYE)])),
        (Region.MOUTH_CAVITY, mesh.cavity_triangles()),
        (Region.SKIRT, mesh.skirt_triangles()),
    ]
    triangles = mesh.oriented(np.concatenate([part for _, part in parts]), mean)
    # named directions as expression coefficients
    scaled = (expression * metric).reshape(len(expression), -1)
    coefficients = np.linalg.lstsq(
        scaled.T,
        (face.directions[:direction_count] * metric).reshape(direction_count, metric.size).T,
        rcond=None,
    )[0].T
    # weights and mirror of the vertices that follow another
    tail = np.arange(mesh.FACE_VERTICES, mesh.VERTEX_COUNT)
    parents = np.concatenate([np.array(mesh.INNER_LIPS), np.tile(np.array(mesh.FACE_OVAL), mesh.SKIRT_RINGS)])
    ring = (tail - mesh.SKIRT_START) // len(mesh.FACE_OVAL)  # negative in the cavity
    lookup = {
        (int(parent), max(int(r), -1)): int(k) for parent, r, k in zip(parents, ring, tail, strict=True)
    }
    full_mirror = np.concatenate([mirror, [lookup[(int(mirror[parent]), key)] for (parent, key) in lookup]])
    lower_all = np.concatenate([face.lower_weight, face.lower_weight[parents]])
    rigid_all = np.concatenate([rigid_weight(face.centre), np.zeros(len(parents), np.float32)])
    ids = {
        "lips": lip_vertices(),
        "inner_lips": mesh.INNER_LIPS,
        "outer_lips": mesh.OUTER_LIPS,
        "eye_corners": mesh.EYE_CORNERS,
        "mouth_corners": mesh.MOUTH_CORNERS,
        "landmark_vertex": np.arange(mesh.FACE_VERTICES),
        "landmark_id": np.arange(mesh.FACE_VERTICES),
        "mirror": full_mirror,
    }
    arrays = {
        "mean": mean,
        "identity_basis": mesh.extended(face.identity, follows=False),
        "expression_basis": mesh.extended(expression, follows=True),
        "pncc_colour": pncc_colours(mean),
        "lower_weight": lower_all,
        "rigid_weight": rigid_all,
        "directions": coefficients,
    }
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(value, np.float32)) for name, value in arrays.items()
    }
    tensors |= {name: torch.as_tensor(np.asarray(value), dtype=torch.int64) for name, value in ids.items()}
    tensors["triangles"] = torch.from_numpy(triangles)
    tensors["region"] = torch.from_numpy(
        np.concatenate([np.full(len(part), int(region), np.uint8) for region, part in parts])
    )
    return tensors


def write_face_model(
    path: Path,
    clips: Sequence[TrackedClip],
    recipe: FaceModelRecipe = DEFAULT_RECIPE,
    direction_names: Sequence[str] = BLENDSHAPE_NAMES,
) -> str:
    """Learn and save; returns the file's sha256."""
    tensors, config = learn_face_model(clips, recipe, direction_names)
    return save_checkpoint(path, tensors, kind="face_model", config=config, licence="Apache-2.0", card=CARD)


def train_face_model(
    data: Path,
    out: Path,
    options: TrainOptions = TRAIN_DEFAULTS,
    on_progress: OnProgress | None = None,
) -> Path:
    """``personatalk train face-model``: track a folder of videos and learn from them.

    Args:
        data:    folder of videos.
        out:     folder for ``face_model.safetensors`` and the cached tracks.
        options: accepted as for the other parts; the learning is closed-form and needs none.
    Returns:
        Path of the face model.
    """
    path = Path(out) / "face_model.safetensors"
    write_face_model(path, tracked_clips(data, Path(out) / "tracks", on_progress))
    return path


CARD = (
    "Linear face model on MediaPipe's 468-vertex topology, learned from landmark tracks of public "
    "talking-head clips. It holds averages and components of vertex positions only: no picture and no "
    "single person's data."
)
