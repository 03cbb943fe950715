"""The renderer with a part taken away or changed, and the renderer that remembers references: what Table 4's
rows are made with.

The parts are taken away from the trained network, not left out while training, as the paper did: its rows say
what the part does in these weights.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor

from ...geometry.face_model import FaceModel
from ...rendering.similarity import MAX_BLENDED
from ...rendering.batch import EncodedReferences
from ...rendering.references import head_pose, mouth_shape
from ...rendering.renderer import DualAttentionRenderer, RenderedCrops, RendererConfig
from ...rendering.fast.surface import Surface

MOST_REMEMBERED = 160  # references of one clip: 4 to 8 MB each


class FaceAttentionOnly(DualAttentionRenderer):
    """Table 4, without lip-attention: one cross-attention layer, over the face references, draws the mouth
    too."""

    def fusion_mask(self, geometry: Tensor, surface: Surface) -> Tensor:
        return torch.zeros_like(geometry[:, 3:])


class LipAttentionOnly(DualAttentionRenderer):
    """Table 4, without face-attention: one cross-attention layer, over the lip references, draws the whole
    face."""

    def fusion_mask(self, geometry: Tensor, surface: Surface) -> Tensor:
        return surface.mesh[:, None].to(geometry.dtype)


class WithoutGeometricStart(DualAttentionRenderer):
    """Logits by learned queries and keys alone: mouth shape and head pose of a reference count nowhere.

    Every reference is told to have the target's own shape and pose, so that neither the logits' start nor the
    choice of the most alike nor the correction of weights knows better. Which of many lip references are read
    is then chosen evenly.
    """

    def render(
        self,
        target_points: Tensor,
        target_expression: Tensor,
        lip: EncodedReferences,
        face: EncodedReferences,
        face_model: FaceModel,
        *,
        face_index: Tensor | None = None,
        lip_allowed: Tensor | None = None,
        wanted: Tensor | None = None,
        dense: bool = False,
    ) -> RenderedCrops:
        shape, pose = mouth_shape(target_expression, face_model), head_pose(target_points, face_model)
        rendered = []
        for b in range(len(target_points)):
            blind = [
                replace(one, shape=shape[b].expand_as(one.shape), pose=pose[b].expand_as(one.pose))
                for one in (lip, face)
            ]
            allowed = (
                torch.ones(1, len(lip), dtype=torch.bool, device=shape.device)
                if lip_allowed is None
                else lip_allowed[b : b + 1]
            )
            at = slice(b, b + 1)
            rendered.append(
                super().render(
                    target_points[at],
                    target_expression[at],
                    *blind,
                    face_model,
                    dense=dense,
                    lip_allowed=spread(allowed, MOST_USED),
                    face_index=None if face_index is None else face_index[at],
                    wanted=None if wanted is None else wanted[at],
                )
            )
        return RenderedCrops(
            *(torch.cat([getattr(one, name) for one in rendered]) for name in ("rgb", "lip", "face"))
        )


class GlobalAttention(DualAttentionRenderer):
    """The paper's attention to the letter, over every latent of every reference, with the same weights
    (variant ``global``)."""

    def __init__(self, config: RendererConfig) -> None:
        super().__init__(replace(config, variant="global"))


def ablated(renderer: DualAttentionRenderer, kind: type[DualAttentionRenderer]) -> DualAttentionRenderer:
    """The same weights with one part changed or taken away. kind: one of the classes above."""
    other = kind(renderer.config)
    other.load_state_dict(renderer.state_dict())
    return other.eval().requires_grad_(False).to(next(renderer.parameters()).device)


def spread(allowed: Tensor, most: int) -> Tensor:
    """Of each row's true entries, (B, N) bool, at most so many, evenly spread."""
    kept = torch.zeros_like(allowed)
    for row, marks in zip(allowed, kept, strict=True):
        places = row.nonzero()[:, 0]
        marks[places[torch.linspace(0, len(places) - 1, min(most, len(places))).round().long()]] = True
    return kept


class RememberedReferences:
    """Encoded references of one clip by what is in them, for all renderers that encode alike."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self.most = most
        self.encoded = 0  # how many were not known
        self._known: OrderedDict[str, EncodedReferences] = OrderedDict()

    def encode(
        self,
        renderer: DualAttentionRenderer,
        crops: Tensor,
        points: Tensor,
        expression: Tensor,
        face: FaceModel,
    ) -> EncodedReferences:
        """As ``renderer.encode_references``; only what is not known is encoded."""
        names = [_name(*row) for row in zip(crops, points, expression, strict=True)]
        fresh = [k for k, name in enumerate(names) if name not in self._known]
        found = {name: self._known[name] for name in names if name in self._known}
        if fresh:
            self.encoded += len(fresh)
            new = renderer.encode_references(crops[fresh], points[fresh], expression[fresh], face)
            found |= {names[k]: new[place] for place, k in enumerate(fresh)}
        for name, reference in found.items():
            self._known[name] = reference
            self._known.move_to_end(name)
        while len(self._known) > self.most:
            self._known.popitem(last=False)
        return EncodedReferences.join([found[name] for name in names])


class RememberingRenderer:
    """A renderer that encodes no reference of a clip twice; everything else is the renderer's own."""

    def __init__(self, renderer: DualAttentionRenderer, memory: RememberedReferences) -> None:
        self.renderer, self.memory = renderer, memory

    def __getattr__(self, name: str) -> object:
        return getattr(self.renderer, name)

    def encode_references(
        self, crops: Tensor, points: Tensor, expression: Tensor, face_model: FaceModel
    ) -> EncodedReferences:
        return self.memory.encode(self.renderer, crops, points, expression, face_model)

    def ablated(self, kind: type[DualAttentionRenderer]) -> RememberingRenderer:
        """The same weights with a part taken away, over the same references."""
        return RememberingRenderer(ablated(self.renderer, kind), self.memory)


def _name(*parts: Tensor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
