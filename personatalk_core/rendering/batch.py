"""What goes into the renderer and what comes out: targets, reference frames, references encoded once, crops.

Encoded references can be indexed and joined, so that a pipeline may keep them per source frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..checks import check_shape
from ..errors import ShapeError

Frames = TypeVar("Frames", "ReferenceFrames", "Targets")


def _cut(frames: Frames, index: slice) -> Frames:
    values = {f.name: getattr(frames, f.name) for f in fields(frames)}
    return replace(frames, **{name: value[index] for name, value in values.items() if value is not None})


@dataclass(frozen=True, eq=False)
class ReferenceFrames:
    """N reference frames as they come.

    crops:       (N, 3, R, R) in [0, 1]; R a multiple of 64, 256 or more.
    points:      (N, V, 3) vertices in crop pixels.
    expression:  (N, E) coefficients.
    shape, pose: (N, S) and (N, 9), filled in by ``similarity.describe``.
    """

    crops: Tensor
    points: Tensor
    expression: Tensor
    shape: Tensor | None = None
    pose: Tensor | None = None

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: slice) -> ReferenceFrames:
        """Some of the frames."""
        return _cut(self, index)


@dataclass(frozen=True, eq=False)
class Targets:
    """B frames to render, G_tgt.

    points:      (B, V, 3) vertices in crop pixels at the references' size R.
    expression:  (B, E).
    face_index:  (B, N_f) int64, the face references of each target; None: every target uses all.
    lip_allowed: (B, N_l) bool, at least one a row; None: all.
    wanted:      (B, R, R) bool, pixels that will be shown; the others come out as the nearest face
                 reference's, which saves their cost. None: all.
    shape, pose: (B, S) and (B, 9), filled in by ``similarity.describe``.
    """

    points: Tensor
    expression: Tensor
    face_index: Tensor | None = None
    lip_allowed: Tensor | None = None
    wanted: Tensor | None = None
    shape: Tensor | None = None
    pose: Tensor | None = None

    def __post_init__(self) -> None:
        count = check_shape("target points", self.points, "B", "V", 3)["B"]
        check_shape("target expression", self.expression, count, "E")

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: slice) -> Targets:
        """Some of the targets."""
        return _cut(self, index)

    def face_rows(self, count: int) -> Tensor:
        """(B, N_f) int64: the face references of each target, of ``count``."""
        everyone = torch.arange(count, device=self.points.device).expand(len(self), -1)
        return everyone if self.face_index is None else self.face_index

    def lips(self, count: int) -> Tensor:
        """(B, count) bool: the lip references that each target may use.

        Raises:
            ShapeError: a target has none.
        """
        if self.lip_allowed is None:
            return torch.ones(len(self), count, dtype=torch.bool, device=self.points.device)
        check_shape("lip_allowed", self.lip_allowed, len(self), count)
        if not bool(self.lip_allowed.any(dim=1).all()):
            raise ShapeError("a target frame has no allowed lip reference; allow at least one.")
        return self.lip_allowed


@dataclass(frozen=True, eq=False)
class EncodedReferences:
    """N references, ready to be attended to. R is the crop size, L the latent size, D the attention width.

    pixels (N, 3, R, R) in [0, 1].  points (N, V, 3) crop pixels.  visibility (N, V) in [0, 1]: how well the
    frame shows each vertex.  shape (N, S): mouth shape.  pose (N, 9): head orientation.  pncc (N, 4, L, L):
    drawn coordinates and, last, the lip mask.  lip_key_value, face_key_value (N, 2 D, L, L): keys, then
    values, of the two attention layers.  strength (N, 1, L, L): mean square of the finest detail in each
    latent.
    """

    pixels: Tensor
    points: Tensor
    visibility: Tensor
    shape: Tensor
    pose: Tensor
    pncc: Tensor
    lip_key_value: Tensor
    face_key_value: Tensor
    strength: Tensor

    def __post_init__(self) -> None:
        count = check_shape("reference pixels", self.pixels, "N", 3, "R", "R")["N"]
        check_shape("reference points", self.points, count, "V", 3)
        check_shape("reference visibility", self.visibility, count, self.points.shape[1])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> EncodedReferences:
        """The chosen references, in the given order; an int gives one reference, still with its N axis."""
        if isinstance(index, int):
            index = slice(index % len(self), index % len(self) + 1)  # a view: nothing is copied
        if isinstance(index, slice):
            return EncodedReferences(**{f.name: getattr(self, f.name)[index] for f in fields(self)})
        rows = torch.as_tensor(index, dtype=torch.int64, device=self.pixels.device).reshape(-1) % len(self)
        return EncodedReferences(
            **{f.name: getattr(self, f.name).index_select(0, rows) for f in fields(self)}
        )

    def gather(self, rows: Tensor) -> ReferenceBatch:
        """Some of the references for each of B targets, (B, n) int64 of which -1 is none, without copying
        pixels or latents."""
        flat = rows.clamp_min(0).flatten()
        points, visibility, shape, pose = (
            x.index_select(0, flat).unflatten(0, rows.shape)
            for x in (self.points, self.visibility, self.shape, self.pose)
        )
        return ReferenceBatch(self, rows, points, visibility, shape, pose)

    def to(self, device: torch.device | str) -> EncodedReferences:
        """The same references on another device."""
        return EncodedReferences(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @staticmethod
    def join(parts: Sequence[EncodedReferences], pixels: Tensor | None = None) -> EncodedReferences:
        """Concatenate along N. pixels: those of all parts, where they lie together already."""
        joined = {} if pixels is None else {"pixels": pixels}
        names = [f.name for f in fields(EncodedReferences) if f.name not in joined]
        joined |= {name: torch.cat([getattr(references, name) for references in parts]) for name in names}
        return EncodedReferences(**joined)


@dataclass(frozen=True, eq=False)
class ReferenceBatch:
    """n of many encoded references for each of B targets.

    rows (B, n) int64 names them, -1 where a target uses fewer; points (B, n, V, 3), visibility (B, n, V),
    shape (B, n, S) and pose (B, n, 9) as in :class:`EncodedReferences`, those of some reference where there
    is none.
    """

    encoded: EncodedReferences
    rows: Tensor
    points: Tensor
    visibility: Tensor
    shape: Tensor
    pose: Tensor

    @property
    def present(self) -> Tensor:
        """(B, n) bool."""
        return self.rows >= 0

    def select(self, chosen: Tensor, values: Tensor) -> tuple[ReferenceBatch, Tensor]:
        """Of these, the ones chosen, (B, n) bool, and the same of values (B, n); n is then what the target
        has that keeps most."""
        count = int(chosen.sum(dim=1).max())
        first = (~chosen).to(torch.uint8).sort(dim=1, stable=True).indices[:, :count]
        rows = torch.where(chosen, self.rows, -1).gather(1, first)
        return self.encoded.gather(rows), values.gather(1, first)


@dataclass(frozen=True, eq=False)
class RenderedCrops:
    """rgb (B, 3, R, R) float32 in [0, 1].  lip (B, 1, R, R) in [0, 1]: M^l.  face (B, 1, R, R) 0 or 1: drawn
    face with cavity, no skirt."""

    rgb: Tensor
    lip: Tensor
    face: Tensor
