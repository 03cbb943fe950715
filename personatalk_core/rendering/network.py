"""The paper's renderer (section 3.2, figure 2): new geometry and reference frames in, new pixels out.

:meth:`DualAttentionRenderer.forward` is the figure, line by line, in plain torch over whole crops. What draws
a dub's frames is ``renderer.py``, which computes the same from the same parameters, only where it is seen.

Deviation from the paper (measured better): the correspondence that the paper's attention has to find in the
latent is already known to a fraction of a pixel through the mesh. References are warped onto the target
first, so that a query meets one key in each reference, and the attention weights are carried to
full-resolution reference pixels. ``variant="global"`` is the paper to the letter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..config import CROP_SIZE, LATENT_SIZE, LATENT_STRIDE
from ..geometry.face_model import FaceModel
from .batch import EncodedReferences, ReferenceBatch, ReferenceFrames, RenderedCrops, Targets
from .detail import blend_in_detail, colour_shift, fine_strength, soften_hairlines
from .regions import vertex_visibility
from .similarity import (
    FACE_SHARPNESS,
    LIP_SHARPNESS,
    MAX_BLENDED,
    corrected,
    describe,
    geometric_logits,
    head_pose,
    mouth_shape,
    nearest_pixels,
    nearest_references,
    spread_evenly,
    squared_distance,
    visible_weights,
)
from .surface import DrawnTargets, align_references, at_crop_size, draw_surface, geometry_map

COORDINATE_SHARPNESS = 60.0  # t: the global variant's logits fall by one at a PNCC distance of 1 / t
POSITION_GRID = 16  # learnable positions live on this grid and are interpolated to the latent


@dataclass(frozen=True)
class RendererConfig:
    """Network sizes, stored in the checkpoint, and what an ablation takes away.

    variant: how references are attended to.  width: C.  attention_width: D.  decoder_width.
    attention: ``dual``, or the one layer that draws the whole face (Table 4).  geometric_start: whether
    logits begin with the differences of mouth shape and head pose.
    """

    variant: Literal["aligned", "global"] = "aligned"
    width: int = 32
    attention_width: int = 16
    decoder_width: int = 32
    attention: Literal["dual", "lip", "face"] = "dual"
    geometric_start: bool = True


class LatentEncoder(nn.Module):
    """E_ref on drawn geometry, E_tex on reference pixels: two strided convolutions to H/4 x W/4."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width // 2, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width // 2, width, 3, stride=2, padding=1)
        self.act = nn.SiLU()

    def forward(self, image: Tensor) -> Tensor:
        """(N, channels, H, W) in [0, 1] to (N, width, H/4, W/4)."""
        return self.act(self.second(self.act(self.first(image * 2.0 - 1.0))))


class ReferenceAttention(nn.Module):
    """Lip-Attention or Face-Attention: which reference gives its texture to which latent.

    The logits begin geometric (mouth shape, head pose) and a learned query-key product that starts at zero is
    added, so that an untrained network already samples sensibly.
    """

    def __init__(self, config: RendererConfig, sharpness: tuple[float, float]) -> None:
        super().__init__()
        width, attention_width, self.geometric_start = (
            config.width,
            config.attention_width,
            config.geometric_start,
        )
        self.to_query = nn.Conv2d(width, attention_width, 1)
        self.to_key = nn.Conv2d(2 * width, attention_width, 1)
        self.to_value = nn.Conv2d(width, attention_width, 1)
        self.query_position = nn.Parameter(torch.zeros(1, width, POSITION_GRID, POSITION_GRID))
        self.key_position = nn.Parameter(torch.zeros(1, width, POSITION_GRID, POSITION_GRID))
        self.log_shape = nn.Parameter(torch.tensor(math.log(sharpness[0])))
        self.log_pose = nn.Parameter(torch.tensor(math.log(sharpness[1])))
        self.to_sharpness = nn.Conv2d(width, 2, 1)
        for layer in (self.to_query, self.to_sharpness):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

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
        distance = squared_distance(target.shape, target.pose, references.shape, references.pose)
        return distance if self.geometric_start else torch.zeros_like(distance)

    def forward(
        self,
        where: Tensor,
        target: DrawnTargets,
        references: ReferenceBatch,
        key_value: Tensor,
        correction: Tensor | None = None,
        surroundings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Eq. 3 over references that are warped onto the target.

        Args:
            where:        (B, C, L, L) = E_ref(G_tgt).
            references:   N of M for each target.  key_value: (M, 2 D, L, L).
            correction:   (B, N), factors of the weights, or None.
            surroundings: (B, 3, R, R) that the references' colours are fitted to along the lips' outline.
        Returns:
            pixels (B, 3, R, R), the nearest reference's where no mesh is drawn, and latent (B, D, L, L).
        """
        step = target.geometry.shape[-1] // where.shape[-1]
        aligned = align_references(target.surface, references, key_value)

        # softmax(Q K^T / sqrt(D) + geometric start) V
        distance, sharpness = self.distance(target, references), self.sharpness(where)
        bias = geometric_logits(sharpness, distance, references.present)
        weights = corrected(aligned_weights(self.query(where), aligned.key, bias), correction)  # (B, N, L, L)
        seen = F.avg_pool2d(aligned.visibility, step)
        latent = (visible_weights(weights, seen)[:, :, None] * aligned.value).sum(dim=1)

        # the same weights on full-resolution pixels
        weights = visible_weights(resized(weights, step * weights.shape[-1]), aligned.visibility)
        shift = None
        if surroundings is not None:
            outline = 4.0 * target.geometry[:, 3:] * (1.0 - target.geometry[:, 3:])
            shift = colour_shift(aligned.pixels, aligned.visibility, surroundings, outline)
        pixels = blend_in_detail(weights, aligned.pixels, aligned.strength, step, shift)
        mesh = target.surface.mesh[:, None].to(where.dtype)
        nearest = nearest_pixels(references, distance, sharpness)
        return fuse(pixels, nearest, mesh), latent * (F.avg_pool2d(mesh, step) > 0)


class TextureDecoder(nn.Module):
    """D_tex: convolutions over latents with the target geometry concatenated, then one upsampling layer.

    Deviation: the blended reference pixels are given beside the latent and the output is added to them; it
    ends at half the size, so that it brings light and colour and leaves the references' finest detail alone.
    Its last layer starts at zero: before training the output is the blended reference pixels.
    """

    def __init__(self, features: int, width: int, stride: int = LATENT_STRIDE) -> None:
        super().__init__()
        # a latent's pixels are all among its channels
        self.enter = nn.Conv2d(features + 3 * stride * stride + 4, width, 1)
        self.middle = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1)
        )
        last = nn.Conv2d(width, 3 * 4, 3, padding=1)
        self.leave = nn.Sequential(last, nn.PixelShuffle(2))
        self.act = nn.SiLU()
        self.stride = stride
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, latent: Tensor, pixels: Tensor, geometry: Tensor) -> Tensor:
        """What to add to the blended pixels, (B, 3, H, W).

        Args:
            latent:   (B, features, H/4, W/4) attended texture.  pixels: (B, 3, H, W) blended references.
            geometry: (B, 4, H/4, W/4) the target's PNCC and lip mask.
        """
        colours = F.pixel_unshuffle(pixels * 2.0 - 1.0, self.stride)
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
        self.lip_attention = ReferenceAttention(config, LIP_SHARPNESS)
        self.face_attention = ReferenceAttention(config, FACE_SHARPNESS)
        self.decoder = TextureDecoder(config.attention_width, config.decoder_width)
        self.coordinate_sharpness = nn.Parameter(torch.tensor(COORDINATE_SHARPNESS))

    def forward(
        self, targets: Targets, lip: ReferenceFrames, face: ReferenceFrames, face_model: FaceModel
    ) -> RenderedCrops:
        """F_tgt from G_tgt and reference frames of lips and face (figure 2), each step over whole crops."""
        target = self.draw(targets, face_model, face.crops.shape[-1])  # G_tgt: PNCC and M^l
        geometry = at_crop_size(target.geometry)
        where = self.geometry_encoder(geometry)  # E_ref(G_tgt)
        faces = self.encode(face, face_model).gather(targets.face_rows(len(face.crops)))  # E_ref, E_tex: K, V
        lips = self.encode(lip, face_model)
        lips, correction = self.choose_lips(target, lips, targets.lips(len(lips)))

        # Face-Attention, Lip-Attention (eq. 3), fused by the lip mask (eq. 4)
        pixels, latent = self.attend(self.face_attention, where, target, faces)
        lip_pixels, lip_latent = self.attend(self.lip_attention, where, target, lips, correction, pixels)
        mask = self.fusion_mask(target.geometry, target.surface.mesh)  # M^l
        pixels = fuse(lip_pixels, pixels, mask)
        latent = fuse(lip_latent, latent, F.adaptive_avg_pool2d(mask, latent.shape[-1]))

        # D_tex
        residual = self.decoder(latent, at_crop_size(pixels), F.avg_pool2d(geometry, LATENT_STRIDE))
        rgb = pixels + resized(residual, pixels.shape[-1]) * target.surface.mesh[:, None]
        if not self.training:
            rgb = soften_hairlines(rgb, target.surface.cavity).clamp(0, 1)
        return RenderedCrops(rgb, target.geometry[:, 3:], target.surface.face[:, None].float())

    def draw(self, targets: Targets, face_model: FaceModel, size: int) -> DrawnTargets:
        """The target geometry G_tgt as pictures of size x size pixels."""
        surface = draw_surface(targets.points, face_model, size)
        targets = describe(targets, face_model)
        return DrawnTargets(surface, geometry_map(surface, face_model), targets.shape, targets.pose)

    def encode(self, frames: ReferenceFrames, face_model: FaceModel) -> EncodedReferences:
        """Keys and values of N reference frames: E_ref on their drawn geometry, E_tex on their pixels."""
        size = frames.crops.shape[-1]
        points = frames.points * (CROP_SIZE / size)
        surface = draw_surface(points, face_model, CROP_SIZE)
        geometry = geometry_map(surface, face_model)
        where, texture = self.geometry_encoder(geometry), self.texture_encoder(at_crop_size(frames.crops))
        return EncodedReferences(
            pixels=frames.crops,
            points=frames.points,
            visibility=vertex_visibility(points, surface.depth, face_model),
            shape=mouth_shape(frames.expression, face_model),
            pose=head_pose(frames.points, face_model),
            pncc=F.avg_pool2d(geometry, LATENT_STRIDE),
            lip_key_value=self.lip_attention.key_value(where, texture),
            face_key_value=self.face_attention.key_value(where, texture),
            strength=fine_strength(frames.crops, size // LATENT_SIZE)[:, None],
        )

    def attend(
        self,
        layer: ReferenceAttention,
        where: Tensor,
        target: DrawnTargets,
        references: ReferenceBatch,
        correction: Tensor | None = None,
        surroundings: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Pixels and latent of one attention layer, in the variant that the config names."""
        lips = layer is self.lip_attention
        encoded = references.encoded
        key_value = encoded.lip_key_value if lips else encoded.face_key_value
        if self.config.variant == "aligned":
            return layer(where, target, references, key_value, correction, surroundings)
        from .global_attention import attend_globally  # the paper to the letter: few need it

        queries = layer.query(where), layer.sharpness(where), layer.distance(target, references)
        return attend_globally(*queries, target, references, key_value, self.coordinate_sharpness, lips)

    def choose_lips(
        self, target: DrawnTargets, lips: EncodedReferences, allowed: Tensor
    ) -> tuple[ReferenceBatch, Tensor | None]:
        """The lip references that each target reads, of those allowed (B, N_l), and factors of weights."""
        if self.config.variant == "aligned" and self.config.geometric_start:
            return nearest_references(target.shape, target.pose, lips, self.lip_attention.start(), allowed)
        if self.config.variant == "aligned":
            allowed = spread_evenly(allowed, MAX_BLENDED)
        return lips.gather(torch.arange(len(lips), device=allowed.device).where(allowed, -1)), None

    def fusion_mask(self, geometry: Tensor, mesh: Tensor) -> Tensor:
        """M^l of eq. 4, (B, 1, R, R) in [0, 1]: where Lip-Attention is shown."""
        if self.config.attention == "face":
            return torch.zeros_like(geometry[:, 3:])
        return geometry[:, 3:] if self.config.attention == "dual" else mesh[:, None].to(geometry.dtype)


def aligned_weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Attention weights of each latent over N aligned references (eq. 3): a query meets one key in each.

    Args:
        query: (B, D, h, w), divided by sqrt(D).  key: (B, N, D, h, w).  bias: (B, N, h, w), geometric logits.
    Returns:
        (B, N, h, w), sums to 1 over N.
    """
    return torch.softmax((query[:, None] * key).sum(dim=2) + bias, dim=1)


def fuse(lip: Tensor, face: Tensor, mask: Tensor) -> Tensor:
    """Eq. 4: lip x M + face x (1 - M); all (..., C, h, w) and the mask (..., 1, h, w) in [0, 1]."""
    return lip * mask + face * (1.0 - mask)


def resized(image: Tensor, size: int) -> Tensor:
    """(N, C, h, w) at size x size."""
    return F.interpolate(image, (size, size), mode="bilinear", align_corners=False)
