"""The paper's lip-synced geometry generation (section 3.1) as one network.

    A_1:T ─────┐
               ├─ stylised audio, eq. 3 ─┐
    S ─────────┘                         ├─ cross-attention ── self-attention ── D_vtx ── lower face
    template ──── E_vtx ─────────────────┘

S is made of a clip of the person: its vertices ── E_vtx ── mean and deviation over time ── linear ── S.

Pure tensors in and out. Speech of any length, styles and weights on disk are other modules' work:
``lip_sync``, ``style``, ``networks``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from torch import Tensor, nn

from .calibration import StyleCalibration
from .local_attention import LocalAttention

VERTEX_UNIT = 0.02  # canonical units; about what a lip moves, so that E_vtx sees numbers near one


@dataclass(frozen=True)
class LipSyncConfig:
    """Sizes of the network and the face model it belongs to.

    vertices: L lower-face vertices.  expression: E_low lower expression coefficients.  face_model: sha256.
    width: D.  heads: of each attention.  layers: self-attention layers.  reach: frames to either side that a
    frame attends to, in each layer.  dropout: in training.  reference: R windows of speech that styles are
    calibrated on, of ``reference_frames`` each; 0: styles are not calibrated.
    """

    vertices: int
    expression: int
    face_model: str
    width: int = 128
    heads: int = 4
    layers: int = 2
    reach: int = 12
    dropout: float = 0.2
    reference: int = 0
    reference_frames: int = 75

    @property
    def margin(self) -> int:
        """Frames to either side that can change a frame's result, the audio encoder aside."""
        return (self.layers + 1) * self.reach


class StyleEncoder(nn.Module):
    """E_vtx, and S: mean and standard deviation of E_vtx over time, then one fully connected layer.

    Paper: 3.1. Deviation: E_vtx sees the lower-face vertices only, because only these are generated.
    ``average`` (D,) is S of the average speaker.
    """

    average: Tensor

    def __init__(self, vertices: int, width: int) -> None:
        super().__init__()
        self.vertex_encoder = nn.Linear(3 * vertices, width)
        self.project = nn.Linear(2 * width, width)
        self.register_buffer("average", torch.zeros(width))

    def encode_vertices(self, offsets: Tensor) -> Tensor:
        """E_vtx: (..., L, 3) offsets from the mean face, canonical units, to (..., D)."""
        return self.vertex_encoder(rearrange(offsets, "... l c -> ... (l c)") / VERTEX_UNIT)

    def forward(self, offsets: Tensor, weight: Tensor | None = None) -> Tensor:
        """S of clips.

        Args:
            offsets: (B, T, L, 3) expression-only offsets of the lower face, canonical units.
            weight:  (B, T) how much each frame counts, >= 0; None counts all alike.
        Returns:
            (B, D).
        """
        encoded = self.encode_vertices(offsets)  # (B, T, D)
        weight = torch.ones_like(encoded[..., 0]) if weight is None else weight
        weight = rearrange(weight / weight.sum(1, keepdim=True).clamp(min=1e-6), "b t -> b t 1")
        mean = (encoded * weight).sum(1)  # (B, D)
        variance = ((encoded - mean[:, None]).square() * weight).sum(1)
        return self.of_statistics(mean, variance)

    def of_statistics(self, mean: Tensor, variance: Tensor) -> Tensor:
        """S of the mean and variance over time of E_vtx, (B, D) each."""
        return self.project(torch.cat((mean, variance.clamp(min=1e-8).sqrt()), dim=-1))


class StylizedAudio(nn.Module):
    """Audio features heard with a speaker's habits: cross-attention, query S, keys and values the audio.

    Paper: eq. 3 with Q = S, K = V = A. Deviation: one query would give one vector and lose time, so S is the
    query of every frame, told apart by its (rotary) position, attention reaches ``reach`` frames to either
    side, and both the audio and S stay in the sum.
    """

    def __init__(self, config: LipSyncConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.style_in = nn.Linear(config.width, config.width)
        self.attention = LocalAttention(config.width, config.heads, config.reach)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, audio: Tensor, style: Tensor) -> Tensor:
        """(B, T, D) audio features A and (B, D) styles S to (B, T, D)."""
        query = rearrange(self.style_in(style), "b d -> b 1 d").expand_as(audio)  # (B, T, D)
        return audio + query + self.dropout(self.attention(query, self.norm(audio)))


class SelfAttentionLayer(nn.Module):
    """Pre-norm self-attention over ``reach`` frames to either side, then a feed-forward network."""

    def __init__(self, config: LipSyncConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm, self.forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = LocalAttention(width, config.heads, config.reach)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) to (B, T, D)."""
        y = self.attention_norm(x)
        x = x + self.dropout(self.attention(y, y))
        return x + self.dropout(self.outer(F.gelu(self.inner(self.forward_norm(x)))))


class LipSyncNetwork(nn.Module):
    """Audio features A_1:T, a style S and a template face to the expression of the lower face.

    Paper: 3.1. Deviations: attention over the single template key is constant, so the template enters as its
    value projection; D_vtx is a fully connected layer whose second factor is the face model's lower
    expression basis, so its vertices always are a face and its coefficients are known; S scales and shifts
    the last features, which lets a person's amplitude and rest pose through without attention having to carry
    them. ``basis`` (E_low, L, 3) is that second factor. ``calibration`` is not part of :meth:`forward`.
    """

    basis: Tensor

    def __init__(self, config: LipSyncConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("basis", torch.zeros(config.expression, config.vertices, 3))
        self.style = StyleEncoder(config.vertices, width)
        self.stylized_audio = StylizedAudio(config)
        self.template = nn.Linear(width, width)
        self.layers = nn.ModuleList(SelfAttentionLayer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.amplitude, self.rest = nn.Linear(width, width), nn.Linear(width, config.expression)
        self.vertex_decoder = nn.Linear(width, config.expression)
        for zero in (self.amplitude.weight, self.amplitude.bias, self.rest.weight, self.rest.bias):
            nn.init.zeros_(zero)
        sizes = (width, config.expression, config.reference, config.reference_frames)
        self.calibration = StyleCalibration(*sizes) if config.reference else None

    def forward(self, audio: Tensor, style: Tensor, template: Tensor) -> Tensor:
        """Lower expression coefficients of every frame; :meth:`offsets` makes vertices of them.

        Args:
            audio:    A_1:T, (B, T, D) from the audio encoder.
            style:    S, (B, D).
            template: (B, L, 3) offsets of the person's lower face at rest from the mean face, canonical
                units.
        Returns:
            (B, T, E_low) in standard deviations of the face model.
        """
        # Stylised audio: query S, keys and values A (eq. 3)
        stylized = self.stylized_audio(audio, style)  # (B, T, D)

        # Cross-attention with the template: it is the only key, so the softmax is 1 and its value remains
        face = self.style.encode_vertices(template)  # (B, D), E_vtx
        x = stylized + rearrange(self.template(face), "b d -> b 1 d")  # (B, T, D)

        # Self-attention over time
        for layer in self.layers:
            x = layer(x)  # (B, T, D)

        # D_vtx, whose amplitude and rest pose are the style's
        x = self.norm(x) * (1 + rearrange(self.amplitude(style), "b d -> b 1 d"))
        return self.vertex_decoder(x) + rearrange(self.rest(style), "b e -> b 1 e")  # (B, T, E_low)

    def offsets(self, expression: Tensor) -> Tensor:
        """Second factor of D_vtx: (..., E_low) lower coefficients to (..., L, 3) offsets of the lower-face
        vertices from the face at rest, canonical units."""
        return einsum(expression, self.basis, "... e, e l c -> ... l c")

    @torch.no_grad()
    def start_from_basis(self, basis: Tensor) -> None:
        """Take a face model's lower expression basis (E_low, L, 3), and start E_vtx as its inverse."""
        self.basis.copy_(basis)
        rows = min(self.config.expression, self.config.width)
        inverse = torch.linalg.pinv(rearrange(self.basis, "e l c -> e (l c)")).T  # (E_low, 3 L)
        encoder = self.style.vertex_encoder
        encoder.weight.mul_(0.1)
        encoder.weight[:rows] = VERTEX_UNIT * inverse[:rows]
        encoder.bias.zero_()
