"""The 3DMM: mean face, identity and expression bases, triangles, index sets. Knows nothing of images or of
where it was learned."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from ..checks import check_finite, check_shape
from ..errors import ShapeError, WeightsError
from ..weights.checkpoint import load_checkpoint

BUNDLED_FACE_MODEL = Path(__file__).resolve().parent.parent / "weights" / "face_model.safetensors"
TENSORS = (
    "mean",
    "identity_basis",
    "expression_basis",
    "triangles",
    "region",
    "pncc_colour",
    "lower_weight",
    "lips",
    "inner_lips",
    "outer_lips",
    "eye_corners",
    "mouth_corners",
    "landmark_vertex",
    "landmark_id",
    "rigid_weight",
    "mirror",
    "directions",
)


class Region(IntEnum):
    """What a triangle belongs to."""

    FACE = 0
    EYE = 1
    MOUTH_CAVITY = 2
    SKIRT = 3


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A linear face: vertices = mean + identity @ identity_basis + expression @ expression_basis.

    Paper: 3.1 (3DMM). Canonical frame and unit as in ``types``.

    mean (V, 3).  identity_basis (A, V, 3), expression_basis (E, V, 3): one standard deviation each.
    lower_count: the first expression components move only the lower face, the others only the rest; in the
    seam, where 0 < lower_weight < 1, both do.  triangles (F, 3) int64, counter-clockwise for the viewer.
    region (F,) uint8. pncc_colour (V, 3) in [0, 1].  lower_weight (V,) in [0, 1].  lips: vertices of the red
    of the lips. inner_lips, outer_lips: rings in order: right corner, upper row, left corner, lower row back.
    eye_corners (2,): outer, right then left.  mouth_corners (2,): inner, right then left (the person's right:
    negative x). landmark_vertex (K,), landmark_id (K,): which vertex is which MediaPipe landmark.
    rigid_weight (V,): how far a vertex moves only with the head, in [0, 1].  mirror (V,): the vertex on the
    other side. directions (N, E) and direction_names (N,): named (ARKit) expression directions in expression
    coefficients at score 1. sha256: of the file.
    """

    mean: Tensor
    identity_basis: Tensor
    expression_basis: Tensor
    lower_count: int
    triangles: Tensor
    region: Tensor
    pncc_colour: Tensor
    lower_weight: Tensor
    lips: Tensor
    inner_lips: Tensor
    outer_lips: Tensor
    eye_corners: Tensor
    mouth_corners: Tensor
    landmark_vertex: Tensor
    landmark_id: Tensor
    rigid_weight: Tensor
    mirror: Tensor
    directions: Tensor
    direction_names: tuple[str, ...] = ()
    sha256: str = ""

    def __post_init__(self) -> None:
        vertices = check_shape("face model mean", self.mean, "V", 3)["V"]
        check_shape("face model identity basis", self.identity_basis, "A", vertices, 3)
        width = check_shape("face model expression basis", self.expression_basis, "E", vertices, 3)["E"]
        faces = check_shape("face model triangles", self.triangles, "F", 3)["F"]
        check_shape("face model region", self.region, faces)
        check_shape("face model PNCC colour", self.pncc_colour, vertices, 3)
        for name in ("lower_weight", "rigid_weight", "mirror"):
            check_shape(f"face model {name}", getattr(self, name), vertices)
        check_shape("face model landmark_id", self.landmark_id, len(self.landmark_vertex))
        check_shape("face model directions", self.directions, len(self.direction_names), width)
        for name in ("mean", "identity_basis", "expression_basis"):
            check_finite(f"face model {name}", getattr(self, name))
        if not 0 <= self.lower_count <= width:
            raise ShapeError(
                f"face model lower_count is {self.lower_count} but expected 0 to {width}, its expression "
                "width."
            )
        if faces and (int(self.triangles.min()) < 0 or int(self.triangles.max()) >= vertices):
            raise ShapeError(
                f"face model triangles name vertices up to {int(self.triangles.max())} but there are "
                f"{vertices}."
            )

    @property
    def vertex_count(self) -> int:
        return self.mean.shape[0]

    @property
    def identity_count(self) -> int:
        return self.identity_basis.shape[0]

    @property
    def expression_count(self) -> int:
        return self.expression_basis.shape[0]

    @cached_property
    def lower_vertices(self) -> Tensor:
        """Ids of the vertices with lower_weight > 0.5: idx_low of paper 3.1."""
        return (self.lower_weight > 0.5).nonzero()[:, 0]

    def direction(self, name: str) -> Tensor:
        """(E,) expression coefficients of a named direction at score 1. Raises ShapeError with the known
        names."""
        if name not in self.direction_names:
            known = ", ".join(self.direction_names) or "none"
            raise ShapeError(
                f"'{name}' is not an expression direction of this face model; expected one of {known}."
            )
        return self.directions[self.direction_names.index(name)]

    def to(self, device: torch.device | str) -> "FaceModel":
        """The same model on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})


def load_face_model(path: Path | None = None) -> FaceModel:
    """Load a face model; None means the bundled one.

    Raises:
        WeightsError: missing, corrupted, or not a face model.
    """
    path = Path(path) if path is not None else BUNDLED_FACE_MODEL
    checkpoint = load_checkpoint(path, kind="face_model")
    missing = sorted(set(TENSORS) - set(checkpoint.tensors))
    if missing:
        raise WeightsError(f"{path} lacks {', '.join(missing[:3])}; use a face model made for this release.")
    tensors = {name: checkpoint.tensors[name] for name in TENSORS}
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensors[name] = tensor.float()
    config = checkpoint.config
    names = tuple(config["direction_names"])
    return FaceModel(
        **tensors, lower_count=int(config["lower_count"]), direction_names=names, sha256=checkpoint.sha256
    )
