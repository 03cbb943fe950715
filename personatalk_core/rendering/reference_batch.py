"""References encoded once: a value that can be indexed and joined, so that a pipeline may keep it per source
frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..checks import check_shape


@dataclass(frozen=True, eq=False)
class EncodedReferences:
    """N references, ready to be attended to. R is the crop size, L the latent size, D the attention width.

    pixels (N, 3, R, R) in [0, 1].  points (N, V, 3) crop pixels.  seen (N, V) in [0, 1]: how well the frame
    saw each vertex. shape (N, S): mouth shape.  pose (N, 9): head orientation.  pncc (N, 4, L, L): drawn
    coordinates and, last, the lip mask. lip_key_value, face_key_value (N, 2 D, L, L): keys, then values, of
    the two attention layers. strength (N, 1, L, L): mean square of the finest detail in each latent.
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
        return EncodedReferences(
            **{f.name: getattr(self, f.name).index_select(0, rows) for f in fields(self)}
        )

    def gather(self, rows: Tensor) -> ReferenceBatch:
        """Some of the references for each of B targets, (B, n) int64 of which -1 is none, without copying
        pixels or latents."""
        flat = rows.clamp_min(0).flatten()
        parts = (
            x.index_select(0, flat).unflatten(0, rows.shape)
            for x in (self.points, self.seen, self.shape, self.pose)
        )
        return ReferenceBatch(self, rows, *parts)

    def to(self, device: torch.device | str) -> EncodedReferences:
        """The same references on another device."""
        return EncodedReferences(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    @staticmethod
    def join(parts: Sequence[EncodedReferences], pixels: Tensor | None = None) -> EncodedReferences:
        """Concatenate along N. pixels: those of all parts, where they lie together already."""
        names = [f.name for f in fields(EncodedReferences) if f.name != "pixels" or pixels is None]
        whole = {} if pixels is None else {"pixels": pixels}
        return EncodedReferences(
            **whole, **{name: torch.cat([getattr(p, name) for p in parts]) for name in names}
        )


@dataclass(frozen=True, eq=False)
class ReferenceBatch:
    """n of many references for each of B targets.

    rows (B, n) int64 names them, -1 where a target uses fewer; points (B, n, V, 3), seen (B, n, V), shape (B,
    n, S) and pose (B, n, 9) as in :class:`EncodedReferences`, those of some reference where there is none.
    """

    whole: EncodedReferences
    rows: Tensor
    points: Tensor
    seen: Tensor
    shape: Tensor
    pose: Tensor

    @property
    def present(self) -> Tensor:
        """(B, n) bool."""
        return self.rows >= 0

    def only(self, kept: Tensor, *others: Tensor) -> tuple[ReferenceBatch, ...]:
        """Of these, the ones that are kept, (B, n) bool, and the same of others (B, n); as many as the target
        has that keeps most."""
        first = (~kept).to(torch.uint8).sort(dim=1, stable=True).indices[:, : int(kept.sum(dim=1).max())]
        return self.whole.gather(torch.where(kept, self.rows, -1).gather(1, first)), *(
            other.gather(1, first) for other in others
        )
