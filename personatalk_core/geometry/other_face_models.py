"""Give any linear face the interface of our own: canonical frame, index sets, lower face, colours, mouth
cavity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import KDTree

from ..checks import check_shape
from ..errors import ShapeError, WeightsError
from ..weights.checkpoint import save_checkpoint
from .camera import align_similarity
from .face_model import TENSORS, FaceModel, Region, load_face_model
from .topology import CAVITY_DEPTH, strip

# The 68 points of iBUG 300-W as MediaPipe vertices: jaw 17, brows 10, nose 9, eyes 12, outer lips 12, inner
# lips 8.
IBUG_68 = tuple(
    int(number)
    for number in (
        "127 234 93 132 58 136 150 176 152 400 379 365 288 361 323 454 356 70 63 105 66 107 336 296 334 "
        "293 300 168 197 5 4 98 97 2 326 327 33 160 158 133 153 144 362 385 387 263 373 380 61 40 37 0 267 "
        "270 291 321 314 17 84 91 78 81 13 311 308 402 14 178"
    ).split()
)
# right corner, upper, left corner, lower back
OUTER_RING = (
    61,
    40,
    37,
    0,
    267,
    270,
    291,
    321,
    314,
    17,
    84,
    91,
)
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

    The lower and upper face are told apart as on the bundled model, by the nearest place on it; every
    expression component is split there into one that moves the lower face and one that moves the rest. A
    mouth cavity is added; a skirt is not.
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
    # refuse what does not fit together
    count = check_shape("mean", mean, "V", 3)["V"]
    check_shape("identity basis", identity_basis, "A", count, 3)
    width = check_shape("expression basis", expression_basis, "E", count, 3)["E"]
    check_shape("triangles", triangles, "F", 3)
    missing = [k for k in NEEDED if k not in landmarks]
    if missing:
        raise ShapeError(
            f"landmarks lack MediaPipe points {missing[:5]}; a face model needs the vertices of {NEEDED}."
        )
    if not all(0 <= v < count for v in landmarks.values()) or int(triangles.max()) >= count:
        raise ShapeError(
            f"landmarks or triangles name vertices outside 0 to {count - 1}; give the files of the same mesh."
        )

    # the canonical frame; each expression component split into lower and upper face, as the nearest vertices
    # of the bundled model say
    mean, scale = _canonical(mean, landmarks, like)
    nearest = np.asarray(KDTree(like.mean[:468].numpy()).query(mean)[1])
    lower = like.lower_weight[nearest].numpy()
    split = np.concatenate([expression_basis * lower[:, None], expression_basis * (1 - lower[:, None])])

    # a mouth cavity behind the inner lips
    ring = np.array([landmarks[k] for k in INNER_RING])
    cavity = np.arange(count, count + len(ring))

    def with_cavity(array: np.ndarray) -> torch.Tensor:
        """With the cavity's vertices, which follow the inner lips."""
        return torch.from_numpy(
            np.ascontiguousarray(np.concatenate([array, array[..., ring, :]], -2), np.float32)
        )

    vertices = with_cavity(mean)
    vertices[cavity, 2] -= CAVITY_DEPTH
    cavity_triangles = cavity[strip(np.arange(len(ring)))]
    colour = _colours(vertices.numpy(), count, len(ring))
    source_vertex = np.concatenate([nearest, nearest[ring]])
    known = sorted(landmarks)
    split_names = [f"{name}{half}" for half in (".lower", ".upper") for name in names]

    model = FaceModel(
        mean=vertices,
        identity_basis=with_cavity(identity_basis * scale),
        expression_basis=with_cavity(split * scale),
        lower_count=width,
        triangles=torch.from_numpy(np.concatenate([triangles, cavity_triangles]).astype(np.int64)),
        region=torch.tensor(
            [Region.FACE] * len(triangles) + [Region.MOUTH_CAVITY] * len(cavity_triangles), dtype=torch.uint8
        ),
        pncc_colour=torch.from_numpy(colour),
        lower_weight=like.lower_weight[source_vertex],
        lips=_lips(nearest, like),
        inner_lips=torch.from_numpy(ring),
        outer_lips=torch.tensor([landmarks[k] for k in OUTER_RING]),
        eye_corners=torch.tensor([landmarks[33], landmarks[263]]),
        mouth_corners=torch.tensor([landmarks[78], landmarks[308]]),
        landmark_vertex=torch.tensor([landmarks[k] for k in known]),
        landmark_id=torch.tensor(known),
        rigid_weight=like.rigid_weight[source_vertex],
        mirror=torch.from_numpy(KDTree(vertices.numpy()).query(vertices.numpy() * [-1, 1, 1])[1]),
        directions=torch.eye(2 * width)[: len(split_names)],
        direction_names=tuple(split_names),
    )
    return replace(model, sha256=_identity_of(model))


def save_face_model(path, face_model: FaceModel, *, licence: str = "", card: str = "") -> str:
    """Write a face model that ``load_face_model`` reads; returns the file's sha256, its identity from then
    on."""
    tensors = {name: getattr(face_model, name) for name in TENSORS}
    config = {"lower_count": face_model.lower_count, "direction_names": list(face_model.direction_names)}
    return save_checkpoint(path, tensors, kind="face_model", config=config, licence=licence, card=card)


def _canonical(mean: np.ndarray, landmarks: Mapping[int, int], like: FaceModel) -> tuple[np.ndarray, float]:
    """Turn upright like the bundled model, eye corners 1 apart, centroid at the origin; the factor of scale
    is returned."""
    known = sorted(landmarks)
    source = torch.from_numpy(mean[[landmarks[k] for k in known]]).float()
    rotation, _, _ = align_similarity(source, like.mean[known], torch.ones(len(known)))
    if float(torch.rad2deg(torch.arccos(((rotation[0].trace() - 1) / 2).clamp(-1, 1)))) > 60:
        raise ShapeError(
            "the face model does not look along z with y up; turn it (x right, y up, z to the viewer) or "
            "check its landmarks."
        )
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


FLAME_SHAPES = 300  # of 400 columns of shapedirs; the others are expressions
LICENCES = (
    "BFM and FLAME may not be redistributed: register with their makers, fetch the file and pass its path; "
    "ICT-FaceKit's light version is on GitHub under MIT."
)


def load_any_face_model(path: Path, landmarks: Path | None = None) -> FaceModel:
    """Load a face model of whichever kind the path is.

    Args:
        path:      our .safetensors, ``BFM_model_front.mat``, a FLAME .npz, or a folder of ICT-FaceKit's OBJ
            files.
        landmarks: JSON of MediaPipe landmark id to vertex; needed for FLAME and ICT. BFM_model_front brings
            its own.
    Raises:
        WeightsError: missing, unreadable, of an unknown kind, or landmarks are needed.
        ShapeError: its arrays or landmarks do not fit together.
    """
    path = Path(path)
    if not path.exists():
        raise WeightsError(f"{path} does not exist. {LICENCES}")
    if path.is_dir():
        return load_ict(path, read_landmarks(landmarks, "ICT-FaceKit"))
    if path.suffix == ".safetensors":
        return load_face_model(path)
    if path.suffix == ".mat":
        return load_bfm09(path)
    if path.suffix == ".npz":
        return load_flame(path, read_landmarks(landmarks, "FLAME"))
    if path.suffix == ".pkl":
        raise WeightsError(
            f"{path.name} is a pickle, which can run any code when read; convert v_template, shapedirs and "
            "f to .npz first."
        )
    raise WeightsError(
        f"{path.name} is not a known face model; expected .safetensors, .mat (BFM09), .npz (FLAME) or a "
        "folder (ICT)."
    )


def load_bfm09(path: Path) -> FaceModel:
    """``BFM_model_front.mat`` of Deng et al. 2019: meanshape (1, 3V), idBase (3V, 80), exBase (3V, 64), tri
    (F, 3) and keypoints (1, 68), both counted from 1. Raises WeightsError when it is another file."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except (OSError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        raise WeightsError(
            f"{path} cannot be read as a MATLAB file ({error}); fetch BFM_model_front.mat again."
        ) from error
    lacking = [name for name in ("meanshape", "idBase", "exBase", "tri", "keypoints") if name not in content]
    if lacking:
        raise WeightsError(
            f"{path} lacks {', '.join(lacking)}; expected BFM_model_front.mat, the cropped model with "
            "expressions."
        )
    mean = content["meanshape"].reshape(-1, 3).astype(np.float64)
    identity = content["idBase"].astype(np.float64).T.reshape(-1, len(mean), 3)
    expression = content["exBase"].astype(np.float64).T.reshape(-1, len(mean), 3)
    points = content["keypoints"].reshape(-1).astype(int) - 1
    if len(points) != len(IBUG_68):
        raise WeightsError(f"{path} has {len(points)} keypoints but expected 68.")
    landmarks: dict[int, int] = dict(zip(IBUG_68, points.tolist(), strict=True))
    return adopt_face_model(
        mean, identity, expression, content["tri"].astype(np.int64) - 1, landmarks, load_face_model()
    )


def load_flame(path: Path, landmarks: dict[int, int]) -> FaceModel:
    """FLAME as .npz: v_template (V, 3), shapedirs (V, 3, 400) with 300 shapes before 100 expressions, f (F,
    3)."""
    try:
        with np.load(path, allow_pickle=False) as content:
            lacking = [name for name in ("v_template", "shapedirs", "f") if name not in content.files]
            if lacking:
                raise WeightsError(f"{path} lacks {', '.join(lacking)}; convert the whole FLAME model.")
            mean, directions, triangles = (
                np.asarray(content[name]) for name in ("v_template", "shapedirs", "f")
            )
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} cannot be read as .npz without pickles ({error}); store FLAME's arrays as plain numbers."
        ) from error
    directions = np.moveaxis(directions.astype(np.float64), -1, 0)
    if len(directions) <= FLAME_SHAPES:
        raise WeightsError(
            f"{path} has {len(directions)} directions but expected more than {FLAME_SHAPES}, shapes before "
            "expressions."
        )
    shapes, expressions = directions[:FLAME_SHAPES], directions[FLAME_SHAPES:]
    return adopt_face_model(
        mean.astype(np.float64), shapes, expressions, triangles.astype(np.int64), landmarks, load_face_model()
    )


def load_ict(folder: Path, landmarks: dict[int, int]) -> FaceModel:
    """ICT-FaceKit: ``generic_neutral_mesh.obj``, ``identity*.obj``, and one OBJ for each named expression
    (``jawOpen.obj`` ...)."""
    neutral = folder / "generic_neutral_mesh.obj"
    if not neutral.is_file():
        raise WeightsError(
            f"{folder} has no generic_neutral_mesh.obj; pass ICT-FaceKit's folder of OBJ files."
        )
    mean, triangles = read_obj(neutral)
    identities, expressions, names = [], [], []
    for path in sorted(folder.glob("*.obj")):
        if path == neutral:
            continue
        offset = read_obj(path)[0] - mean if _fits(path, mean) else None
        if offset is None:
            raise WeightsError(
                f"{path.name} has another number of vertices than {neutral.name}; give one mesh."
            )
        if path.stem.startswith("identity"):
            identities.append(offset)
        else:
            expressions.append(offset)
            names.append(path.stem)
    if not identities or not expressions:
        raise WeightsError(
            f"{folder} has {len(identities)} identities and {len(expressions)} expressions; expected some "
            "of each."
        )
    return adopt_face_model(
        mean, np.stack(identities), np.stack(expressions), triangles, landmarks, load_face_model(), names
    )


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) float64 and triangles (F, 3) from 0; polygons are cut into fans."""
    vertices, faces = [], []
    for line in Path(path).read_text(encoding="utf-8", errors="replace").splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(value) for value in rest[:3]])
        elif word == "f":
            corners = [int(value.split("/")[0]) - 1 for value in rest]
            faces += [[corners[0], corners[k], corners[k + 1]] for k in range(1, len(corners) - 1)]
    if not vertices or not faces:
        raise WeightsError(f"{path} has no vertices or no faces; expected an OBJ mesh.")
    return np.array(vertices), np.array(faces, np.int64)


def read_landmarks(path: Path | None, kind: str) -> dict[int, int]:
    """MediaPipe landmark id to vertex, from JSON such as {"33": 1120, "263": 4480}."""
    if path is None:
        raise WeightsError(
            f"{kind} needs a JSON file that says which of its vertices are which MediaPipe landmarks; pass "
            "it as landmarks."
        )
    try:
        return {
            int(key): int(value) for key, value in json.loads(Path(path).read_text(encoding="utf-8")).items()
        }
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read as a JSON object of landmark numbers ({error})."
        ) from error


def _fits(path: Path, mean: np.ndarray) -> bool:
    return read_obj(path)[0].shape == mean.shape
