"""What lies before the face in the source frames of one dub, judged frame by frame against the dub's lip references."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from .compose.occlusion import covered_mask, known_skin, place_colours, seen_vertices, skin_places
from .geometry.face_model import FaceModel

ENOUGH = 5  # references below which nothing can be said about what is usual
MOST = 15  # references that frames are compared with
OWN_SHARE = 0.5  # of a frame's own doubt beside that of the frames before and after it


class CoveredFrames:
    """Doubts of source frames, kept while they are needed.

    Args:
        pixels: (N, 3, R, R) in [0, 1], the lip references.  points: (N, V, 3) their vertices in crop pixels.
    """

    def __init__(self, face_model: FaceModel, pixels: Tensor, points: Tensor) -> None:
        self._places, self._vertices = skin_places(face_model), face_model.vertex_count
        chosen = torch.linspace(0, len(pixels) - 1, min(len(pixels), MOST)).round().long().unique()
        crops = rearrange(pixels[chosen.to(pixels.device)].float().cpu(), "n c h w -> n h w c").numpy()
        colours = [place_colours(crop, own, self._places) for crop, own in zip(crops, points[..., :2].cpu().numpy()[chosen], strict=True)]
        self._skin = known_skin(self._places, np.stack(colours)) if len(colours) >= ENOUGH else None
        self._doubt: dict[int, np.ndarray] = {}

    def look_at(self, number: int, crop: np.ndarray, points: Tensor) -> None:
        """Judge source frame ``number`` from its crop (R, R, 3) uint8 and its vertices (V, 3) in crop pixels."""
        if self._skin is not None and number not in self._doubt:
            colours = place_colours(crop.astype(np.float32) / 255, points[:, :2].numpy(), self._places)
            self._doubt[number] = self._skin.doubt(colours)

    def knows(self, number: int) -> bool:
        """Whether a frame was looked at, or nothing can be known."""
        return self._skin is None or number in self._doubt

    def forget_all_but(self, numbers: Collection[int]) -> None:
        """Keep the doubts of these frames only."""
        self._doubt = {i: doubt for i, doubt in self._doubt.items() if i in numbers}

    def seen(self, number: int) -> Tensor:
        """(V,) in [0, 1]: how well the frame shows each vertex; what something lies before is not taken from it."""
        if self._skin is None:
            return torch.ones(self._vertices)
        return torch.from_numpy(seen_vertices(self._doubt[number], self._places, self._vertices))

    def mask(self, number: int, neighbours: Collection[int], points: Tensor, size: int) -> Tensor:
        """Pixels of a frame that are not the face's, steadied over the frames around it.

        Args:
            neighbours: frames just before and after it that were looked at.
            points:     (V, 3) of the frame in crop pixels.  size: R.
        Returns:
            (R, R) float32 in [0, 1], 0 for a bare face.
        """
        if self._skin is None:
            return torch.zeros(size, size)
        doubt = self._doubt[number]
        around = [self._doubt[i] for i in neighbours]
        if around:
            doubt = OWN_SHARE * doubt + (1 - OWN_SHARE) * np.mean(around, axis=0)
        return torch.from_numpy(covered_mask(doubt, points[:, :2].numpy(), self._places, size))
