"""The renderer with a part taken away or changed: what Table 4's rows are made with.

The parts are taken away from the trained network, not left out while training, as the paper did: its rows say
what the part does in these weights.
"""

from __future__ import annotations

from dataclasses import replace

from ...rendering.network import DualAttentionRenderer

# Changes of RendererConfig.
# Without Lip-Attention: one cross-attention layer, over the face references, draws the mouth too.
FACE_ATTENTION_ONLY: dict[str, object] = {"attention": "face"}
# Without Face-Attention: one cross-attention layer, over the lip references, draws the whole face.
LIP_ATTENTION_ONLY: dict[str, object] = {"attention": "lip"}
# Logits by learned queries and keys alone: mouth shape and head pose of a reference count nowhere, and which
# of many lip references are read is chosen evenly.
WITHOUT_GEOMETRIC_START: dict[str, object] = {"geometric_start": False}
# The paper's attention to the letter, over every latent of every reference.
GLOBAL_ATTENTION: dict[str, object] = {"variant": "global"}


def ablated(renderer: DualAttentionRenderer, **changes: object) -> DualAttentionRenderer:
    """The same weights with one part changed or taken away. changes: of RendererConfig, as above."""
    other = DualAttentionRenderer(replace(renderer.config, **changes))
    other.load_state_dict(renderer.state_dict())
    return other.eval().requires_grad_(False).to(next(renderer.parameters()).device)
