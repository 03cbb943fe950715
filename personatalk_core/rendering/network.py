"""The paper's renderer (section 3.2, figure 2): new geometry and reference frames in, new pixels out.

``DualAttentionRenderer.forward`` is the figure, line by line, in plain torch over whole crops. A dub's frames
are drawn by ``renderer.py``: the same from the same parameters, only where it is seen.
Deviation (measured better): the mesh knows to a fraction of a pixel what the paper's attention must find in
the latent, so references are warped onto the target first and a query meets one key in each; the weights are
carried to full-resolution reference pixels. ``variant="global"`` is the paper to the letter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import LATENT_SIZE, LATENT_STRIDE
from ..geometry.face_model import FaceModel
from . import similarity
from .batch import EncodedReferences, ReferenceBatch, ReferenceFrames, RenderedCrops, Targets
from .detail import blend_aligned, fine_strength, soften_hairlines
from .surface import DrawnTargets, align_references, at_crop_size, draw_references, draw_targets, resized

COORDINATE_SHARPNESS = 60.0  # t: the global variant's logits fall by one at a PNCC distance of 1 / t
POSITION_GRID = 16  # learnable positions live on this grid and are interpolated to the latent


@dataclass(frozen=True)
class RendererConfig:
    """Network sizes, stored in the checkpoint; last, what an ablation takes away, which is not."""

    variant: Literal["aligned", "global"] = "aligned"
    width: int = 32  # C
    attention_width: int = 16  # D
    decoder_width: int = 32
    attention: Literal["dual", "lip", "face"] = "dual"  # or the one layer that draws the whole face (Table 4)
    geometric_start: bool = True  # whether logits begin with differences of mouth shape and head pose


class LatentEncoder(nn.Module):
    """E_ref on drawn geometry, E_tex on reference pixels: two strided convolutions to H/4 x W/4."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width // 2, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.act = nn.SiLU()

    def forward(self, image: Tensor) -> Tensor:
        return self.act(self.second(self.act(self.first(image * 2.0 - 1.0))))


class ReferenceAttention(nn.Module):
    """Lip-Attention or Face-Attention: which reference gives its texture to which latent. The logits begin
    geometric (mouth shape, head pose); a learned query-key product that starts at zero is added."""

    def __init__(self, config: RendererConfig, sharpness: tuple[float, float]) -> None:
        super().__init__()
        width, attention_width = config.width, config.attention_width
        self.geometric_start = config.geometric_start
        self.to_query = nn.Conv2d(width, attention_width, 1)
        self.to_key = nn.Conv2d(2 * width, attention_width, 1)
        self.to_value = nn.Conv2d(width, attention_width, 1)
        self.query_position = nn.Parameter(torch.zeros(1, width, POSITION_GRID, POSITION_GRID))
        self.key_position = nn.Parameter(torch.zeros(1, width, POSITION_GRID, POSITION_GRID))
        self.log_shape = nn.Parameter(torch.tensor(math.log(sharpness[0])))
        self.log_pose = nn.Parameter(torch.tensor(math.log(sharpness[1])))
        self.to_sharpness = nn.Conv2d(width, 2, 1)
        for parameter in (*self.to_query.parameters(), *self.to_sharpness.parameters()):
            nn.init.zeros_(parameter)

    def query(self, where: Tensor) -> Tensor:
        """(B, C, L, L) target geometry latents to Q (B, D, L, L), scaled by 1 / sqrt(D)."""
        query = self.to_query(where + resized(self.query_position, where.shape[-1]))
        return query / math.sqrt(query.shape[1])

    def key_value(self, where: Tensor, texture: Tensor) -> Tensor:
        """(N, C, L, L) reference latents of geometry and texture to K, then V: (N, 2 D, L, L)."""
        placed = where + resized(self.key_position, where.shape[-1])
        return torch.cat([self.to_key(torch.cat([placed, texture], dim=1)), self.to_value(texture)], dim=1)

    def start(self) -> Tensor:
        """(2,): what a difference of mouth shape and of head pose costs before the latents have their say."""
        return torch.stack([self.log_shape, self.log_pose]).exp()

    def sharpness(self, where: Tensor) -> Tensor:
        """(B, C, L, L) to (B, 2, L, L) > 0: what a difference of mouth shape and of head pose costs."""
        start = torch.stack([self.log_shape, self.log_pose])[None, :, None, None]
        return (start + self.to_sharpness(where)).exp()

    def distance(self, target: DrawnTargets, references: ReferenceBatch) -> Tensor:
        """(B, N, 2) >= 0: squared differences of mouth shape and head pose, 0 without a geometric start."""
        both = similarity.squared_distance(target.shape, target.pose, references.shape, references.pose)
        return both if self.geometric_start else torch.zeros_like(both)

    def forward(
        self,
        where: Tensor,
        target: DrawnTargets,
        references: ReferenceBatch,
        key_value: Tensor,
        correction: Tensor | None = None,
        surroundings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Eq. 3 over N of M references for each target: pixels (B, 3, R, R) and latent (B, D, L, L).

        where: E_ref(G_tgt), (B, C, L, L).  key_value: (M, 2 D, L, L).  correction: (B, N) factors.
        surroundings: (B, 3, R, R), whose colours the references take on along the lips' outline.
        """
        aligned, mesh = align_references(target.surface, references, key_value), target.mesh
        step = mesh.shape[-1] // where.shape[-1]

        # softmax(Q K^T / sqrt(D) + geometric start) V
        distance, sharpness = self.distance(target, references), self.sharpness(where)
        bias = similarity.geometric_logits(sharpness, distance, references.present)
        weights = similarity.corrected(aligned_weights(self.query(where), aligned.key, bias), correction)
        seen = similarity.visible_weights(weights, F.avg_pool2d(aligned.visibility, step))
        latent = (seen[:, :, None] * aligned.value).sum(dim=1)

        # the same weights on full-resolution pixels
        weights = similarity.visible_weights(resized(weights, mesh.shape[-1]), aligned.visibility)
        pixels = blend_aligned(weights, aligned, target.lip_mask, surroundings)
        nearest = similarity.nearest_pixels(references, distance, sharpness)
        return fuse(pixels, nearest, mesh), latent * (F.avg_pool2d(mesh, step) > 0)


class TextureDecoder(nn.Module):
    """D_tex: convolutions over latents with the target geometry concatenated, then one upsampling layer.

    Deviation: it also sees the blended reference pixels, to which its output is added; it ends at half the
    size, so that it brings light and colour and leaves finest detail alone. It starts at zero.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(features + 3 * LATENT_STRIDE**2 + 4, width, 1)
        self.middle = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        last = nn.Conv2d(width, 3 * 4, 3, padding=1)
        self.leave = nn.Sequential(last, nn.PixelShuffle(2))
        self.act = nn.SiLU()
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, latent: Tensor, pixels: Tensor, geometry: Tensor) -> Tensor:
        """What to add to pixels (B, 3, H, W), from them, latent (B, D, H/4, W/4) and pooled geometry."""
        colours = F.pixel_unshuffle(pixels * 2.0 - 1.0, LATENT_STRIDE)
        x = torch.cat([latent, colours, geometry], dim=1).contiguous(memory_format=torch.channels_last)
        x = self.act(self.enter(x))
        x = self.act(x + self.middle(x))
        return F.interpolate(self.leave(x), pixels.shape[-2:], mode="bilinear", align_corners=False)


class DualAttentionRenderer(nn.Module):
    """Encoders, the two attention layers and the decoder, assembled."""

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry_encoder = LatentEncoder(4, config.width)
        self.texture_encoder = LatentEncoder(3, config.width)
        self.lip_attention = ReferenceAttention(config, similarity.LIP_SHARPNESS)
        self.face_attention = ReferenceAttention(config, similarity.FACE_SHARPNESS)
        self.decoder = TextureDecoder(config.attention_width, config.decoder_width)
        self.coordinate_sharpness = nn.Parameter(torch.tensor(COORDINATE_SHARPNESS))

    def forward(
        self, targets: Targets, lip: ReferenceFrames, face: ReferenceFrames, face_model: FaceModel
    ) -> RenderedCrops:
        """F_tgt from G_tgt and reference frames of lips and face (figure 2), each step over whole crops."""
        target = draw_targets(targets, face_model, face.crops.shape[-1])  # G_tgt: PNCC and M^l
        where = self.geometry_encoder(at_crop_size(target.geometry))  # E_ref(G_tgt)
        lips, faces = self.encode(lip, face_model), self.encode(face, face_model)  # E_ref, E_tex: K and V
        lips, correction = self.choose_lips(target, lips, targets.lips(len(lips)))
        faces = faces.gather(targets.face_rows(len(faces)))

        # Face-Attention and Lip-Attention (eq. 3), fused by the lip mask (eq. 4)
        pixels, latent = self.attend(self.face_attention, where, target, faces)
        lip_pixels, lip_latent = self.attend(self.lip_attention, where, target, lips, correction, pixels)
        mask = self.fusion_mask(target)  # M^l
        pixels = fuse(lip_pixels, pixels, mask)
        latent = fuse(lip_latent, latent, F.adaptive_avg_pool2d(mask, latent.shape[-1]))

        # D_tex
        geometry = F.avg_pool2d(at_crop_size(target.geometry), LATENT_STRIDE)
        residual = self.decoder(latent, at_crop_size(pixels), geometry)
        rgb = pixels + resized(residual, pixels.shape[-1]) * target.mesh
        if self.config.variant == "aligned" and not self.training:
            rgb = soften_hairlines(rgb, target.surface.cavity)
        return RenderedCrops(rgb if self.training else rgb.clamp(0, 1), target.lip_mask, target.face)

    def encode(self, frames: ReferenceFrames, face_model: FaceModel) -> EncodedReferences:
        """Keys and values of N reference frames: E_ref on their drawn geometry, E_tex on their pixels."""
        geometry, visibility = draw_references(frames, face_model)
        where, texture = self.geometry_encoder(geometry), self.texture_encoder(at_crop_size(frames.crops))
        shape, pose = similarity.shape_and_pose(frames, face_model)
        return EncodedReferences(
            pixels=frames.crops,
            points=frames.points,
            visibility=visibility,
            shape=shape,
            pose=pose,
            pncc=F.avg_pool2d(geometry, LATENT_STRIDE),
            lip_key_value=self.lip_attention.key_value(where, texture),
            face_key_value=self.face_attention.key_value(where, texture),
            strength=fine_strength(frames.crops, frames.crops.shape[-1] // LATENT_SIZE)[:, None],
        )

    def choose_lips(
        self, target: DrawnTargets, lips: EncodedReferences, allowed: Tensor
    ) -> similarity.Weighted:
        """The lip references that each target reads, of those allowed (B, N_l), and factors of weights."""
        aligned, start = self.config.variant == "aligned", self.lip_attention.start()
        if aligned and self.config.geometric_start:
            return similarity.nearest_references(target.shape, target.pose, lips, start, allowed)
        allowed = similarity.spread_evenly(allowed) if aligned else allowed
        return lips.gather(torch.arange(len(lips), device=allowed.device).where(allowed, -1)), None

    def attend(
        self, layer: ReferenceAttention, where: Tensor, target: DrawnTargets, chosen: ReferenceBatch, *lips
    ) -> tuple[Tensor, Tensor]:
        """Pixels and latent of one attention layer, in the variant that the config names."""
        of_lips = layer is self.lip_attention
        key_value = chosen.encoded.lip_key_value if of_lips else chosen.encoded.face_key_value
        if self.config.variant == "aligned":
            return layer(where, target, chosen, key_value, *lips)
        from .global_attention import attend_globally  # the paper to the letter: few need it

        queries = layer.query(where), layer.sharpness(where), layer.distance(target, chosen)
        return attend_globally(*queries, target, chosen, key_value, self.coordinate_sharpness, of_lips)

    def fusion_mask(self, target: DrawnTargets) -> Tensor:
        """M^l of eq. 4, (B, 1, R, R) in [0, 1]: where Lip-Attention is shown."""
        masks = {"dual": target.lip_mask, "lip": target.mesh, "face": 0.0 * target.mesh}
        return masks[self.config.attention]


def aligned_weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Eq. 3's weights (B, N, h, w), which sum to 1, of N aligned references: query (B, D, h, w) over sqrt(D),
    key (B, N, D, h, w), bias (B, N, h, w) the geometric logits."""
    return torch.softmax((query[:, None] * key).sum(dim=2) + bias, dim=1)


def fuse(lip: Tensor, face: Tensor, mask: Tensor) -> Tensor:
    """Eq. 4: lip x M + face x (1 - M); all (..., C, h, w) and the mask (..., 1, h, w) in [0, 1]."""
    return lip * mask + face * (1.0 - mask)
