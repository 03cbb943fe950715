"""References encoded once: a value that can be indexed and joined, so that a pipeline may keep it per source frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..checks import check_shape


@dataclass(frozen=True, eq=False)
class EncodedReferences:
    """N references, ready to be attended to. R is the crop size, L the latent size, D the attention width.

    pixels (N, 3, R, R) in [0, 1].  points (N, V, 3) crop pixels.  seen (N, V) in [0, 1]: how well the frame saw each vertex.
    shape (N, S): mouth shape.  pose (N, 9): head orientation.  pncc (N, 4, L, L): drawn coordinates and, last, the lip mask.
    lip_key_value, face_key_value (N, 2 D, L, L): keys, then values, of the two attention layers.
    strength (N, 1, L, L): mean square of the finest detail in each latent.
    """

    pixels: Tensor
    points: Tensor
    seen: Tensor
    shape: Tensor
    pose: Tensor
    pncc: Tensor
    lip_key_value: Tensor
    face_key_value: Tensor
    strength: Tensor

    def __post_init__(self) -> None:
        count = check_shape("reference pixels", self.pixels, "N", 3, "R", "R")["N"]
        check_shape("reference points", self.points, count, "V", 3)
        check_shape("reference visibility", self.seen, count, self.points.shape[1])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> EncodedReferences:
        """The chosen references, in the given order; an int gives one reference, still with its N axis."""
        if isinstance(index, int):
            index = slice(index % len(self), index % len(self) + 1)  # a view: nothing is copied
        if isinstance(index, slice):
            return EncodedReferences(**{f.name: getattr(self, f.name)[index] for f in fields(self)})
        rows = torch.as_tensor(index, dtype=torch.int64, device=self.pixels.device).reshape(-1) % len(self)
        return EncodedReferences(**{f.name: getattr(self, f.name).index_select(0, rows) for f in fields(self)})

    def lend(self, rows: Sequence[int]) -> LentReferences:
        """Some of the references, by number, without copying pixels or latents."""
        index = torch.tensor(list(rows), dtype=torch.int64, device=self.points.device)
        return LentReferences(self, tuple(rows), *(x.index_select(0, index) for x in (self.points, self.seen, self.shape, self.pose)))

    def to(self, device: torch.device | str) -> EncodedReferences:
        """The same references on another device."""
        return EncodedReferences(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @staticmethod
    def join(parts: Sequence[EncodedReferences]) -> EncodedReferences:
        """Concatenate along N."""
        return EncodedReferences(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(EncodedReferences)})


@dataclass(frozen=True, eq=False)
class LentReferences:
    """n of many references: ``rows`` names them; points, seen, shape, pose as in :class:`EncodedReferences` but of these rows only."""

    whole: EncodedReferences
    rows: tuple[int, ...]
    points: Tensor
    seen: Tensor
    shape: Tensor
    pose: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, kept: Tensor) -> LentReferences:
        """Of these, the ones at the places (M,) int64."""
        return self.whole.lend([self.rows[k] for k in kept.tolist()])
