"""Geometry files: every field of a FaceGeometry, and of the source it is rendered through, in one safetensors
file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..checks import check_rising
from ..errors import FaceModelMismatchError, ShapeError, WeightsError
from ..types import FRAME_FIELDS, FaceGeometry, FrameStatus
from ..weights.checkpoint import load_checkpoint, save_checkpoint
from .face_model import FaceModel

KIND = "geometry"
LONGEST_SIDE = 1 << 16  # pixels
TENSORS = {"identity": torch.float32, **FRAME_FIELDS}
SOURCE = "reference."  # prefix of the source clip's own geometry


def save_geometry(path: Path, geometry: FaceGeometry) -> str:
    """Write a geometry, and its ``reference`` where it has one; whole or not at all. Returns the sha256."""
    tensors, config = _pack(geometry)
    if geometry.reference is not None:
        source, config[SOURCE] = _pack(geometry.reference)
        tensors |= {SOURCE + name: value for name, value in source.items()}
    return save_checkpoint(Path(path), tensors, kind=KIND, config=config)


def load_geometry(path: Path, face_model: FaceModel | None = None) -> FaceGeometry:
    """Read a geometry file.

    Args:
        path:       written by :func:`save_geometry`.
        face_model: the one in use; None skips the comparison.
    Raises:
        WeightsError: missing, damaged, not geometry, or fields that do not fit together.
        FaceModelMismatchError: made with another face model.
    """
    checkpoint = load_checkpoint(Path(path), kind=KIND)
    config = dict(checkpoint.config)
    source = config.pop(SOURCE, None)
    if source is not None and not isinstance(source, dict):
        raise WeightsError(f"{path} holds geometry whose source is not described; make it again.")
    geometry = _unpack(
        path, {n: t for n, t in checkpoint.tensors.items() if not n.startswith(SOURCE)}, config
    )
    if source is not None:
        of_source = {n.removeprefix(SOURCE): t for n, t in checkpoint.tensors.items() if n.startswith(SOURCE)}
        geometry = replace(geometry, reference=_unpack(path, of_source, source))
    if (
        int(geometry.source_frame.max()) >= (geometry.reference or geometry).frame_count
        and geometry.reference is not None
    ):
        raise WeightsError(f"{path} shows frames of its source that the source does not have; make it again.")
    if face_model is not None:
        require_face_model(geometry.face_model, face_model, f"{path}")
    return geometry


def require_face_model(made_with: str, face_model: FaceModel, what: str) -> None:
    """Raise FaceModelMismatchError unless ``made_with`` is the sha256 of the face model in use."""
    if made_with != face_model.sha256:
        raise FaceModelMismatchError(
            f"{what} was made with face model {made_with[:12] or 'unknown'} but "
            f"{face_model.sha256[:12] or 'unknown'} is loaded; estimate the geometry again with this face "
            "model or load the one it was made with."
        )


def move(geometry: FaceGeometry, device: torch.device | str) -> FaceGeometry:
    """The same geometry with its tensors on a device."""
    return replace(geometry, **{name: getattr(geometry, name).to(device) for name in TENSORS})


def _pack(geometry: FaceGeometry) -> tuple[dict[str, Tensor], dict]:
    tensors = {name: getattr(geometry, name).to(dtype) for name, dtype in TENSORS.items()}
    config = {
        "frame_size": list(geometry.frame_size),
        "face_model": geometry.face_model,
        "source": geometry.source,
        "audio": list(geometry.audio),
    }
    return tensors, config


def _unpack(path: Path, tensors: dict[str, Tensor], config: dict) -> FaceGeometry:
    missing = sorted(set(TENSORS) - set(tensors)) + sorted(
        {"frame_size", "face_model", "source", "audio"} - set(config)
    )
    if missing:
        raise WeightsError(f"{path} lacks {', '.join(missing)}; make the geometry again with this release.")
    try:
        height, width = (int(v) for v in config["frame_size"])
        audio, digest = (str(v) for v in config["audio"])
        values = {name: tensors[name].to(dtype) for name, dtype in TENSORS.items()}
        geometry = FaceGeometry(
            **values,
            frame_size=(height, width),
            face_model=str(config["face_model"]),
            source=str(config["source"]),
            audio=(audio, digest),
            reference=None,
        )
        _check_values(geometry)
        return geometry
    except (ShapeError, TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise WeightsError(
            f"{path} holds geometry whose fields do not fit together ({error}); make it again."
        ) from error


def _check_values(geometry: FaceGeometry) -> None:
    """Refuse what no fitting writes. Raises ValueError or ShapeError."""
    check_rising("times", geometry.times.numpy())
    if not bool((geometry.durations > 0).all()) or not bool(torch.isfinite(geometry.durations).all()):
        raise ValueError("durations are not all above 0")
    if int(geometry.status.max()) > max(FrameStatus) or int(geometry.source_frame.min()) < 0:
        raise ValueError("a status or a source frame is out of range")
    if not all(1 <= side <= LONGEST_SIDE for side in geometry.frame_size):
        raise ValueError(f"the frame size is {geometry.frame_size}")
