"""The renderer with a part taken away, and the renderer that remembers references: what Table 4's rows are made with.

The parts are taken away from the trained network, not left out while training, as the paper did: its rows say what the part
does in these weights.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor

from ..geometry.face_model import FaceModel
from ..rendering.correspondence import Surface
from ..rendering.encoded_references import EncodedReferences
from ..rendering.renderer import DualAttentionRenderer

MOST_REMEMBERED = 160  # references of one clip: 4 to 8 MB each
NO_SHARPNESS = -30.0  # logarithm: differences of mouth shape and pose cost nothing


class FaceAttentionOnly(DualAttentionRenderer):
    """Table 4, without lip-attention: one cross-attention layer, over the face references, draws the mouth too."""

    def fusion_mask(self, geometry: Tensor, surface: Surface) -> Tensor:
        return torch.zeros_like(geometry[3:])


class LipAttentionOnly(DualAttentionRenderer):
    """Table 4, without face-attention: one cross-attention layer, over the lip references, draws the whole face."""

    def fusion_mask(self, geometry: Tensor, surface: Surface) -> Tensor:
        return surface.mesh[None].to(geometry.dtype)


class WithoutGeometricStart(DualAttentionRenderer):
    """Logits by learned queries and keys alone: mouth shape and head pose of a reference no longer count."""


def ablated(renderer: DualAttentionRenderer, kind: type[DualAttentionRenderer]) -> DualAttentionRenderer:
    """The same weights with one part taken away. kind: one of the classes above."""
    other = kind(renderer.config)
    other.load_state_dict(renderer.state_dict())
    if kind is WithoutGeometricStart:
        with torch.no_grad():
            for layer in (other.lip_attention, other.face_attention):
                layer.log_shape.fill_(NO_SHARPNESS)
                layer.log_pose.fill_(NO_SHARPNESS)
    return other.eval().requires_grad_(False).to(next(renderer.parameters()).device)


class RememberedReferences:
    """Encoded references of one clip by what is in them, for all renderers that encode alike."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self.most = most
        self.encoded = 0  # how many were not known
        self._known: OrderedDict[str, EncodedReferences] = OrderedDict()

    def encode(
        self, renderer: DualAttentionRenderer, crops: Tensor, points: Tensor, expression: Tensor, face: FaceModel
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

    def encode_references(self, crops: Tensor, points: Tensor, expression: Tensor, face_model: FaceModel) -> EncodedReferences:
        return self.memory.encode(self.renderer, crops, points, expression, face_model)

    def ablated(self, kind: type[DualAttentionRenderer]) -> RememberingRenderer:
        """The same weights with a part taken away, over the same references."""
        return RememberingRenderer(ablated(self.renderer, kind), self.memory)


def _name(*parts: Tensor) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
