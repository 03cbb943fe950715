"""The dual-attention face renderer: new geometry and reference pixels in, new pixels out (paper 3.2).

Encode references once (:meth:`DualAttentionRenderer.encode_references`), render many targets from them. Does not know
videos, crops' places in a frame, or how references were chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from .correspondence import Surface, Window, bounding_window, draw_surface
from .decoder import NEAR, REACH, TextureDecoder
from .dual_attention import FACE_SHARPNESS, LIP_SHARPNESS, ReferenceAttention, joint_key_values, joint_queries, unlikeness
from .encoded_references import EncodedReferences
from .encoders import LatentEncoder
from .global_sampling import COORDINATE_SHARPNESS, sample_global
from .local_linear import linear_correction, most_alike
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
        geometry = geometry_maps(surfaces, face_model)
        seen = vertex_visibility(points * scale, torch.stack([surface.depth for surface in surfaces]), face_model)
        return self.encode_drawn(crops, points, expression, geometry, seen, face_model)

    def encode_drawn(
        self, crops: Tensor, points: Tensor, expression: Tensor, geometry: Tensor, seen: Tensor, face_model: FaceModel
    ) -> EncodedReferences:
        """The same for frames that were drawn before: geometry (N, 4, 256, 256) of :func:`geometry_map`, seen (N, V)."""
        size = crops.shape[-1]
        base = crops if size == CROP_SIZE else F.interpolate(crops, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)
        where, texture = self.geometry_encoder(geometry), self.texture_encoder(channels_last(base))
        lip, face = joint_key_values((self.lip_attention, self.face_attention), where, texture)
        return EncodedReferences(
            pixels=channels_last(crops), points=points, seen=seen,
            shape=mouth_shape(expression, face_model), pose=head_pose(points, face_model),
            pncc=F.avg_pool2d(geometry, LATENT_STRIDE), lip_key_value=lip, face_key_value=face,
        )  # fmt: skip

    def render(
        self, target_points: Tensor, target_expression: Tensor, lip: EncodedReferences, face: EncodedReferences, face_model: FaceModel, *,
        face_index: Tensor | None = None, lip_allowed: Tensor | None = None, wanted: Tensor | None = None, dense: bool = False,
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
            wanted:            (B, R, R) bool, pixels that will be shown; the others come out as the likest face reference's, which
                               saves their cost. None: all.
            dense:             the slow twin: both attention layers and the decoder over the whole crop.
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
        geometry = geometry_maps(surfaces, face_model)  # (B, 4, R, R)
        base = geometry if size == CROP_SIZE else F.interpolate(geometry, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)
        encoded = self.geometry_encoder(base)
        queries = joint_queries((self.lip_attention, self.face_attention), encoded)
        shape, pose = mouth_shape(target_expression, face_model), head_pose(target_points, face_model)
        step = size // encoded.shape[-1]
        start = self.lip_attention.start()
        sampled, windows = [], []
        for b in range(count):
            own = face.lend(face_index[b].tolist())
            unlike = unlikeness(shape[b], pose[b], lip.shape, lip.pose)
            of_face = Queries(queries[1][0][b], queries[1][1][b], unlikeness(shape[b], pose[b], own.shape, own.pose))
            window = Window(0, size, 0, size)
            if not dense:
                shown, reach = (surfaces[b].mesh, REACH) if wanted is None else (surfaces[b].mesh & wanted[b], NEAR)
                window = bounding_window(shown, step).grown(reach * step, size, size)
            windows.append(window)
            mask = self.fusion_mask(geometry[b], surfaces[b])
            if self.config.variant == "global":
                of_lips = Queries(queries[0][0][b], queries[0][1][b], unlike, lip_allowed[b])
                coarse = F.avg_pool2d(base[b, :3], LATENT_STRIDE)
                sampled.append(sample_global(of_lips, of_face, coarse, mask, lip, face[own.rows], self.coordinate_sharpness))
            else:
                rows = most_alike(unlike, start, lip_allowed[b])
                near, unlike = lip.lend(rows.tolist()), unlike[rows]
                correction = linear_correction(near.shape - shape[b], near.pose - pose[b], -unlike @ start)
                of_lips = Queries(queries[0][0][b], queries[0][1][b], unlike, correction=correction)
                places = target_points[b]
                sampled.append(sample_aligned(of_lips, of_face, surfaces[b], places, mask, near, own, face_model, dense, window))
        rgb = torch.stack([s[0] for s in sampled])
        for b, window in enumerate(windows):
            residual = self._residual(sampled[b][1][None], rgb[b : b + 1], base[b : b + 1], window)
            window.paste(rgb[b], window.cut(rgb[b]) + residual[0] * window.cut(surfaces[b].mesh))
        drawn = torch.stack([surface.face for surface in surfaces])
        return RenderedCrops(rgb if self.training else rgb.clamp(0, 1), geometry[:, 3:], rearrange(drawn, "b h w -> b 1 h w").float())

    def fusion_mask(self, geometry: Tensor, surface: Surface) -> Tensor:
        """M^l of eq. 4, (1, R, R) in [0, 1]: where Lip-Attention is shown. Ablations show one of the two layers only."""
        return geometry[3:]

    def _residual(self, latent: Tensor, pixels: Tensor, geometry: Tensor, window: Window) -> Tensor:
        """What the decoder adds inside a window, computed at 256 x 256 and carried to the crop's own size."""
        size = pixels.shape[-1]
        step = size // latent.shape[-1]
        near = window.scaled(step)  # on latents
        fine, height, width = near.enlarged(LATENT_STRIDE), *window.size
        small = window.cut(pixels)
        if size != CROP_SIZE:
            small = F.interpolate(small, near.enlarged(LATENT_STRIDE).size, mode="bilinear", antialias=True)
        part = fine.cut(geometry)
        residual = self.decoder(near.cut(latent), small, part[:, :3], part[:, 3:])
        return residual if size == CROP_SIZE else F.interpolate(residual, (height, width), mode="bilinear", align_corners=False)


def channels_last(images: Tensor) -> Tensor:
    """The same images laid out pixel by pixel in memory, which convolutions with few channels read faster."""
    return images.contiguous(memory_format=torch.channels_last)


def geometry_maps(surfaces: Sequence[Surface], face_model: FaceModel) -> Tensor:
    """(B, 4, H, W): PNCC without the skirt, background 0, and the soft lip mask, of B drawn meshes of one size."""
    values = torch.cat([face_model.pncc_colour, lip_weight(face_model)[:, None]], dim=1)
    rows = [rearrange(surface.interpolate(values), "k h w -> h w k") * surface.face[..., None] for surface in surfaces]
    return rearrange(torch.stack(rows), "b h w k -> b k h w")  # channels last in memory


def geometry_map(surface: Surface, face_model: FaceModel) -> Tensor:
    """The same of one mesh: (4, H, W)."""
    return geometry_maps([surface], face_model)[0]


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
