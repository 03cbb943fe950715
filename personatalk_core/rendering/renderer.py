"""The dual-attention face renderer: new geometry and reference pixels in, new pixels out (paper 3.2).

Encode references once (:meth:`DualAttentionRenderer.encode_references`), render many targets from them. Does not know
videos, crops' places in a frame, or how references were chosen.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_shape
from ..config import CROP_SIZE, LATENT_STRIDE
from ..errors import ShapeError, WeightsError
from ..geometry.face_model import FaceModel
from ..weights.checkpoint import load_checkpoint, load_into, save_checkpoint
from .aligned_sampling import Queries, sample_aligned
from .correspondence import Surface, draw_surface
from .decoder import TextureDecoder
from .dual_attention import FACE_SHARPNESS, LIP_SHARPNESS, ReferenceAttention, unlikeness
from .encoded_references import EncodedReferences
from .encoders import LatentEncoder
from .global_sampling import COORDINATE_SHARPNESS, sample_global
from .regions import lip_weight
from .similarity import head_pose, mouth_shape
from .visibility import vertex_visibility

KIND = "renderer"
Variant = Literal["aligned", "global"]


@dataclass(frozen=True)
class RendererConfig:
    """Network sizes, stored in the checkpoint. variant: how references are attended to; width C; attention_width D; decoder_width."""

    variant: Variant = "aligned"
    width: int = 48
    attention_width: int = 16
    decoder_width: int = 48


@dataclass(frozen=True, eq=False)
class RenderedCrops:
    """rgb (B, 3, R, R) float32 in [0, 1].  lip (B, 1, R, R) in [0, 1]: M^l.  face (B, 1, R, R) 0 or 1: drawn face with cavity, no skirt."""

    rgb: Tensor
    lip: Tensor
    face: Tensor


class DualAttentionRenderer(nn.Module):
    """Encoders, the two attention layers and the decoder, assembled."""

    def __init__(self, config: RendererConfig) -> None:
        super().__init__()
        self.config = config
        self.geometry_encoder = LatentEncoder(4, config.width)
        self.texture_encoder = LatentEncoder(3, config.width)
        self.lip_attention = ReferenceAttention(config.width, config.attention_width, *LIP_SHARPNESS)
        self.face_attention = ReferenceAttention(config.width, config.attention_width, *FACE_SHARPNESS)
        self.decoder = TextureDecoder(config.attention_width, config.decoder_width, LATENT_STRIDE)
        self.coordinate_sharpness = nn.Parameter(torch.tensor(COORDINATE_SHARPNESS))

    def encode_references(self, crops: Tensor, points: Tensor, expression: Tensor, face_model: FaceModel) -> EncodedReferences:
        """Encode reference frames once.

        Args:
            crops:      (N, 3, R, R) in [0, 1]; R a multiple of 4, 256 or more.
            points:     (N, V, 3) the frames' vertices in crop pixels at R.
            expression: (N, E) coefficients of the frames.
        Returns:
            EncodedReferences on the same device.
        Raises:
            ShapeError: a shape differs.
        """
        size = _crop_size(crops)
        count = len(crops)
        check_shape("reference points", points, count, face_model.vertex_count, 3)
        check_shape("reference expression", expression, count, face_model.expression_count)
        scale = CROP_SIZE / size
        surfaces = draw_surface(points * scale, face_model, CROP_SIZE)
        geometry = torch.stack([geometry_map(surface, face_model) for surface in surfaces])
        seen = vertex_visibility(points * scale, torch.stack([surface.depth for surface in surfaces]), face_model)
        return self.encode_drawn(crops, points, expression, geometry, seen, face_model)

    def encode_drawn(
        self, crops: Tensor, points: Tensor, expression: Tensor, geometry: Tensor, seen: Tensor, face_model: FaceModel
    ) -> EncodedReferences:
        """The same for frames that were drawn before: geometry (N, 4, 256, 256) of :func:`geometry_map`, seen (N, V)."""
        size = crops.shape[-1]
        base = crops if size == CROP_SIZE else F.interpolate(crops, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)
        where, texture = self.geometry_encoder(geometry), self.texture_encoder(base)
        return EncodedReferences(
            pixels=crops, points=points, seen=seen, shape=mouth_shape(expression, face_model), pose=head_pose(points, face_model),
            pncc=F.avg_pool2d(geometry, LATENT_STRIDE), lip_key_value=self.lip_attention.key_value(where, texture),
            face_key_value=self.face_attention.key_value(where, texture),
        )  # fmt: skip

    def render(
        self, target_points: Tensor, target_expression: Tensor, lip: EncodedReferences, face: EncodedReferences, face_model: FaceModel, *,
        face_index: Tensor | None = None, lip_allowed: Tensor | None = None, dense: bool = False,
    ) -> RenderedCrops:  # fmt: skip
        """Render target geometries.

        Paper: 3.2, eq. 3 and 4.
        Args:
            target_points:     (B, V, 3) in crop pixels at the references' size R.
            target_expression: (B, E).
            lip:               N_l lip references, shared by the batch.
            face:              face references; each target uses the rows named by ``face_index``.
            face_index:        (B, N_f) int64 into ``face``; None: every target uses all.
            lip_allowed:       (B, N_l) bool; None: all. At least one a row.
            dense:             the slow twin: Lip-Attention over the whole crop.
        Returns:
            RenderedCrops.
        Raises:
            ShapeError: a shape differs or a target has no allowed lip reference.
        """
        count = check_shape("target points", target_points, "B", face_model.vertex_count, 3)["B"]
        check_shape("target expression", target_expression, count, face_model.expression_count)
        if lip_allowed is None:
            lip_allowed = torch.ones(count, len(lip), dtype=torch.bool, device=target_points.device)
        check_shape("lip_allowed", lip_allowed, count, len(lip))
        if not bool(lip_allowed.any(dim=1).all()):
            raise ShapeError("a target frame has no allowed lip reference; allow at least one.")
        if face_index is None:
            face_index = torch.arange(len(face), device=target_points.device).expand(count, -1)
        size = _crop_size(face.pixels)
        surfaces = draw_surface(target_points, face_model, size)
        geometry = torch.stack([geometry_map(surface, face_model) for surface in surfaces])  # (B, 4, R, R)
        base = geometry if size == CROP_SIZE else F.interpolate(geometry, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)
        encoded = self.geometry_encoder(base)
        queries = [(layer.query(encoded), layer.sharpness(encoded)) for layer in (self.lip_attention, self.face_attention)]
        shape, pose = mouth_shape(target_expression, face_model), head_pose(target_points, face_model)
        sampled = []
        for b in range(count):
            own = face[face_index[b]]
            of_lips = Queries(queries[0][0][b], queries[0][1][b], unlikeness(shape[b], pose[b], lip.shape, lip.pose), lip_allowed[b])
            of_face = Queries(queries[1][0][b], queries[1][1][b], unlikeness(shape[b], pose[b], own.shape, own.pose))
            if self.config.variant == "global":
                coarse = F.avg_pool2d(base[b, :3], LATENT_STRIDE)
                sampled.append(sample_global(of_lips, of_face, coarse, geometry[b, 3:], lip, own, self.coordinate_sharpness))
            else:
                places = target_points[b]
                sampled.append(sample_aligned(of_lips, of_face, surfaces[b], places, geometry[b, 3:], lip, own, face_model, dense))
        pixels, latent = torch.stack([s[0] for s in sampled]), torch.stack([s[1] for s in sampled])
        mesh = torch.stack([surface.mesh for surface in surfaces])[:, None]
        rgb = pixels + self._residual(latent, pixels, base) * mesh
        drawn = torch.stack([surface.face for surface in surfaces])
        return RenderedCrops(rgb if self.training else rgb.clamp(0, 1), geometry[:, 3:], rearrange(drawn, "b h w -> b 1 h w").float())

    def _residual(self, latent: Tensor, pixels: Tensor, geometry: Tensor) -> Tensor:
        """What the decoder adds, computed at 256 x 256 and carried to the crop's own size."""
        size = pixels.shape[-1]
        small = pixels if size == CROP_SIZE else F.interpolate(pixels, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)
        residual = self.decoder(latent, small, geometry[:, :3], geometry[:, 3:])
        return residual if size == CROP_SIZE else F.interpolate(residual, (size, size), mode="bilinear", align_corners=False)


def geometry_map(surface: Surface, face_model: FaceModel) -> Tensor:
    """(4, H, W): PNCC without the skirt, background 0, and the soft lip mask."""
    values = torch.cat([face_model.pncc_colour, lip_weight(face_model)[:, None]], dim=1)
    return surface.interpolate(values) * surface.face


def _crop_size(crops: Tensor) -> int:
    size = check_shape("crops", crops, "N", 3, "R", "R")["R"]
    if size < CROP_SIZE or size % (CROP_SIZE // LATENT_STRIDE):
        raise ShapeError(f"crops are {size} pixels wide but expected a multiple of {CROP_SIZE // LATENT_STRIDE} from {CROP_SIZE} up.")
    return size


def build_renderer(config: RendererConfig, seed: int = 0) -> DualAttentionRenderer:
    """A renderer with its geometric start: it samples sensibly before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DualAttentionRenderer(config).eval()


def save_renderer(path: Path, renderer: DualAttentionRenderer, *, licence: str, card: str) -> str:
    """Write weights and config as safetensors; returns the sha256."""
    tensors = {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in renderer.state_dict().items()}
    return save_checkpoint(path, tensors, kind=KIND, config=asdict(renderer.config), licence=licence, card=card)


def load_renderer(path: Path, device: torch.device | str = "cpu") -> DualAttentionRenderer:
    """Load a renderer for inference: parameters frozen.

    Raises:
        WeightsError: the file is missing, corrupted, of another kind, or does not fit.
    """
    checkpoint = load_checkpoint(path, kind=KIND)
    try:
        renderer = DualAttentionRenderer(RendererConfig(**checkpoint.config))
    except TypeError as error:
        raise WeightsError(f"{path} has settings this release does not know ({error}); update PersonaTalk or its weights.") from error
    return load_into(renderer, checkpoint, str(path)).requires_grad_(False).to(device)
