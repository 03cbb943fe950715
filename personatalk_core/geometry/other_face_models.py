"""Read face models that a user brings: BFM09 as Deng et al. cut it, FLAME, ICT-FaceKit.

Their licences forbid shipping them, so none comes with this package: BFM and FLAME are for registered research users, and
must be fetched from their makers. Nothing here unpickles: FLAME's pickle has to be converted to .npz first.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..errors import WeightsError
from .adopted_face_model import IBUG_68, adopt_face_model
from .face_model import FaceModel, load_face_model

FLAME_SHAPES = 300  # of 400 columns of shapedirs; the others are expressions
LICENCES = (
    "BFM and FLAME may not be redistributed: register with their makers, fetch the file and pass its path; "
    "ICT-FaceKit's light version is on GitHub under MIT."
)



def load_any_face_model(path: Path, landmarks: Path | None = None) -> FaceModel:
    """Load a face model of whichever kind the path is.

    Args:
        path:      our .safetensors, ``BFM_model_front.mat``, a FLAME .npz, or a folder of ICT-FaceKit's OBJ files.
        landmarks: JSON of MediaPipe landmark id to vertex; needed for FLAME and ICT. BFM_model_front brings its own.
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
        raise WeightsError(f"{path.name} is a pickle, which can run any code when read; convert v_template, shapedirs and f to .npz first.")
    raise WeightsError(f"{path.name} is not a known face model; expected .safetensors, .mat (BFM09), .npz (FLAME) or a folder (ICT).")


def load_bfm09(path: Path) -> FaceModel:
    """``BFM_model_front.mat`` of Deng et al. 2019: meanshape (1, 3V), idBase (3V, 80), exBase (3V, 64), tri (F, 3) and
    keypoints (1, 68), both counted from 1. Raises WeightsError when it is another file."""
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except (OSError, ValueError, NotImplementedError, TypeError, IndexError) as error:
        raise WeightsError(f"{path} cannot be read as a MATLAB file ({error}); fetch BFM_model_front.mat again.") from error
    lacking = [name for name in ("meanshape", "idBase", "exBase", "tri", "keypoints") if name not in content]
    if lacking:
        raise WeightsError(f"{path} lacks {', '.join(lacking)}; expected BFM_model_front.mat, the cropped model with expressions.")
    mean = content["meanshape"].reshape(-1, 3).astype(np.float64)
    identity = content["idBase"].astype(np.float64).T.reshape(-1, len(mean), 3)
    expression = content["exBase"].astype(np.float64).T.reshape(-1, len(mean), 3)
    points = content["keypoints"].reshape(-1).astype(int) - 1
    if len(points) != len(IBUG_68):
        raise WeightsError(f"{path} has {len(points)} keypoints but expected 68.")
    landmarks = dict(zip(IBUG_68, points.tolist(), strict=True))
    return adopt_face_model(mean, identity, expression, content["tri"].astype(np.int64) - 1, landmarks, load_face_model())


def load_flame(path: Path, landmarks: dict[int, int]) -> FaceModel:
    """FLAME as .npz: v_template (V, 3), shapedirs (V, 3, 400) with 300 shapes before 100 expressions, f (F, 3)."""
    try:
        with np.load(path, allow_pickle=False) as content:
            lacking = [name for name in ("v_template", "shapedirs", "f") if name not in content.files]
            if lacking:
                raise WeightsError(f"{path} lacks {', '.join(lacking)}; convert the whole FLAME model.")
            mean, directions, triangles = (np.asarray(content[name]) for name in ("v_template", "shapedirs", "f"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as .npz without pickles ({error}); store FLAME's arrays as plain numbers.") from error
    directions = np.moveaxis(directions.astype(np.float64), -1, 0)
    if len(directions) <= FLAME_SHAPES:
        raise WeightsError(f"{path} has {len(directions)} directions but expected more than {FLAME_SHAPES}, shapes before expressions.")
    shapes, expressions = directions[:FLAME_SHAPES], directions[FLAME_SHAPES:]
    return adopt_face_model(mean.astype(np.float64), shapes, expressions, triangles.astype(np.int64), landmarks, load_face_model())


def load_ict(folder: Path, landmarks: dict[int, int]) -> FaceModel:
    """ICT-FaceKit: ``generic_neutral_mesh.obj``, ``identity*.obj``, and one OBJ for each named expression (``jawOpen.obj`` ...)."""
    neutral = folder / "generic_neutral_mesh.obj"
    if not neutral.is_file():
        raise WeightsError(f"{folder} has no generic_neutral_mesh.obj; pass ICT-FaceKit's folder of OBJ files.")
    mean, triangles = read_obj(neutral)
    identities, expressions, names = [], [], []
    for path in sorted(folder.glob("*.obj")):
        if path == neutral:
            continue
        offset = read_obj(path)[0] - mean if _fits(path, mean) else None
        if offset is None:
            raise WeightsError(f"{path.name} has another number of vertices than {neutral.name}; give one mesh.")
        if path.stem.startswith("identity"):
            identities.append(offset)
        else:
            expressions.append(offset)
            names.append(path.stem)
    if not identities or not expressions:
        raise WeightsError(f"{folder} has {len(identities)} identities and {len(expressions)} expressions; expected some of each.")
    return adopt_face_model(mean, np.stack(identities), np.stack(expressions), triangles, landmarks, load_face_model(), names)


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
        raise WeightsError(f"{kind} needs a JSON file that says which of its vertices are which MediaPipe landmarks; pass it as landmarks.")
    try:
        return {int(key): int(value) for key, value in json.loads(Path(path).read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} cannot be read as a JSON object of landmark numbers ({error}).") from error


def _fits(path: Path, mean: np.ndarray) -> bool:
    return read_obj(path)[0].shape == mean.shape
