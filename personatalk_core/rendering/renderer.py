"""The dual-attention face renderer: new geometry and reference pixels in, new pixels out (paper 3.2).

Encode references once (:meth:`DualAttentionRenderer.encode_references`), render many targets from them. Does
not know videos, crops' places in a frame, or how references were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ..checks import check_shape
from ..config import CROP_SIZE, LATENT_SIZE, LATENT_STRIDE
from ..errors import ShapeError, WeightsError
from ..geometry.face_model import FaceModel
from ..weights.checkpoint import load_checkpoint, load_into, save_checkpoint
from .aligned_sampling import Queries, sample_aligned
from .decoder import REACH, TextureDecoder
from .detail import fine_strength, soften_hairlines
from .dual_attention import (
    FACE_SHARPNESS,
    LIP_SHARPNESS,
    JointKeyValues,
    JointQueries,
    ReferenceAttention,
    squared_distance,
)
from .encoders import LatentEncoder
from .frame_threads import over_frames
from .global_sampling import COORDINATE_SHARPNESS, sample_global
from .local_linear import linear_correction, topk_references
from .pooling import mean_pool
from .reference_batch import EncodedReferences, ReferenceBatch
from .references import head_pose, mouth_shape
from .regions import lip_weight, vertex_visibility
from .surface import Surface, Window, bounding_window, draw_surface

KIND = "renderer"
MARGIN = (
    3  # latents around a reference's mesh that are encoded, too: sampling beside the mesh's border reads them
)
TOGETHER, TOGETHER_GPU = 4, 32  # frames of 256 pixels in one operation on a CPU and on other devices
Variant = Literal["aligned", "global"]


@dataclass(frozen=True)
class RendererConfig:
    """Network sizes, stored in the checkpoint. variant: how references are attended to; width C;
    attention_width D; decoder_width."""

    variant: Variant = "aligned"
    width: int = 32
    attention_width: int = 16
    decoder_width: int = 32


@dataclass(frozen=True, eq=False)
class RenderedCrops:
    """rgb (B, 3, R, R) float32 in [0, 1].  lip (B, 1, R, R) in [0, 1]: M^l.  face (B, 1, R, R) 0 or 1: drawn
    face with cavity, no skirt."""

    rgb: Tensor
    lip: Tensor
    face: Tensor


@dataclass(frozen=True, eq=False)
class _Targets:
    """B frames rendered together: surface, geometry (B, 4, R, R), points (B, V, 3), shape (B, S) and pose (B,
    9); the window of pixels that is worked on in all of them; dense as in render."""

    surface: Surface
    geometry: Tensor
    points: Tensor
    shape: Tensor
    pose: Tensor
    window: Window
    dense: bool


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

    def encode_references(
        self, crops: Tensor, points: Tensor, expression: Tensor, face_model: FaceModel
    ) -> EncodedReferences:
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
        size, kind = _crop_size(crops), crops.device.type
        count, half = len(crops), half_precision(kind)
        check_shape("reference points", points, count, face_model.vertex_count, 3)
        check_shape("reference expression", expression, count, face_model.expression_count)
        values, project = geometry_values(face_model), self._key_values()
        scaled, pixels = (
            points * (CROP_SIZE / size),
            torch.empty_like(crops, memory_format=torch.channels_last),
        )

        def encode(rows: range) -> Iterator[EncodedReferences]:
            for part in together(rows, size, crops.device):
                pixels[part] = crops[part]
                surface = draw_surface(scaled[part], face_model, CROP_SIZE)
                geometry = geometry_map(surface, face_model, values)
                near = (
                    bounding_window(surface.mesh, LATENT_STRIDE)
                    .scaled(LATENT_STRIDE)
                    .grown(MARGIN, LATENT_SIZE, LATENT_SIZE)
                )
                with torch.autocast(kind, half, enabled=half is not None):
                    lip, face = self._latents(geometry, _at_crop_size(pixels[part]), near, project)
                yield EncodedReferences(
                    pixels=pixels[part],
                    points=points[part],
                    shape=shape[part],
                    pose=pose[part],
                    seen=vertex_visibility(scaled[part], surface.depth, face_model),
                    pncc=_placed(mean_pool(near.enlarged(LATENT_STRIDE).cut(geometry), LATENT_STRIDE), near),
                    lip_key_value=lip,
                    face_key_value=face,
                    strength=fine_strength(pixels[part], size // LATENT_SIZE)[:, None],
                )

        with torch.autocast(kind, enabled=False):
            shape, pose = mouth_shape(expression, face_model), head_pose(points, face_model)
            return EncodedReferences.join(over_frames(encode, count, crops.device), pixels)

    def encode_drawn(
        self,
        crops: Tensor,
        points: Tensor,
        expression: Tensor,
        geometry: Tensor,
        seen: Tensor,
        face_model: FaceModel,
    ) -> EncodedReferences:
        """The same for frames that were drawn before, all together: geometry (N, 4, 256, 256) of
        :func:`geometry_map`, seen (N, V)."""
        everywhere = Window(0, LATENT_SIZE, 0, LATENT_SIZE)
        lip, face = self._latents(
            geometry, channels_last(_at_crop_size(crops)), everywhere, self._key_values()
        )
        return EncodedReferences(
            pixels=channels_last(crops),
            points=points,
            seen=seen,
            shape=mouth_shape(expression, face_model),
            pose=head_pose(points, face_model),
            pncc=mean_pool(geometry, LATENT_STRIDE),
            lip_key_value=lip,
            face_key_value=face,
            strength=fine_strength(crops, crops.shape[-1] // LATENT_SIZE)[:, None],
        )

    def _key_values(self) -> JointKeyValues:
        return JointKeyValues((self.lip_attention, self.face_attention), LATENT_SIZE)

    def _latents(self, geometry: Tensor, base: Tensor, near: Window, project: JointKeyValues) -> list[Tensor]:
        """Keys and values (N, 2 D, L, L) of both layers from pictures (N, 4 or 3, 256, 256), computed in a
        window of latents, else 0."""
        wide = near.grown(1, LATENT_SIZE, LATENT_SIZE)  # the encoders' convolutions look one latent further
        pixels = wide.enlarged(LATENT_STRIDE)
        where, texture = self.geometry_encoder(pixels.cut(geometry)), self.texture_encoder(pixels.cut(base))
        return [
            _placed(part.float(), wide, torch.channels_last) for part in project(where, texture, wide.cut)
        ]

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
        """Render target geometries.

        Paper: 3.2, eq. 3 and 4.
        Args:
            target_points:     (B, V, 3) in crop pixels at the references' size R.
            target_expression: (B, E).
            lip:               N_l lip references, shared by the batch.
            face:              face references; each target uses the rows named by ``face_index``.
            face_index:        (B, N_f) int64 into ``face``; None: every target uses all.
            lip_allowed:       (B, N_l) bool; None: all. At least one a row.
            wanted:            (B, R, R) bool, pixels that will be shown; the others come out as the likest
                               face reference's, which
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
        values, project = (
            geometry_values(face_model),
            JointQueries((self.lip_attention, self.face_attention), LATENT_SIZE),
        )
        kind = target_points.device.type
        half = half_precision(kind)

        def render(rows: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for part in together(rows, size, target_points.device):
                surface = draw_surface(target_points[part], face_model, size)
                geometry = geometry_map(surface, face_model, values)
                window = Window(0, size, 0, size)
                if not dense:
                    step = size // LATENT_SIZE
                    window = bounding_window(
                        surface.mesh if wanted is None else surface.mesh & wanted[part], step
                    )
                    if min(window.size) > 0:
                        window = window.grown(REACH * step, size, size)
                targets = _Targets(
                    surface, geometry, target_points[part], shape[part], pose[part], window, dense
                )
                rgb = self._render_targets(
                    targets, lip, face.gather(face_index[part]), lip_allowed[part], project, half
                )
                yield rgb, geometry[:, 3:], surface.face[:, None].float()

        with torch.autocast(kind, enabled=False):
            shape, pose = mouth_shape(target_expression, face_model), head_pose(target_points, face_model)
            rgb, mask, drawn = (
                torch.cat(parts)
                for parts in zip(*over_frames(render, count, target_points.device), strict=True)
            )
        return RenderedCrops(rgb if self.training else rgb.clamp(0, 1), mask, drawn)

    def _render_targets(
        self,
        targets: _Targets,
        lip: EncodedReferences,
        face: ReferenceBatch,
        allowed: Tensor,
        project: JointQueries,
        half: torch.dtype | None,
    ) -> Tensor:
        """The targets' pictures, (B, 3, R, R). half: what the networks' convolutions run in, None for single
        precision."""
        window, surface, size = targets.window, targets.surface, targets.geometry.shape[-1]
        base = _at_crop_size(targets.geometry)  # (B, 4, 256, 256)
        with torch.autocast(base.device.type, half, enabled=half is not None):
            to_lips, to_face = self._queries(base, window.scaled(size // LATENT_SIZE), project)
        unlike = squared_distance(targets.shape, targets.pose, lip.shape, lip.pose)
        of_face = Queries(*to_face, squared_distance(targets.shape, targets.pose, face.shape, face.pose))
        mask = self.fusion_mask(targets.geometry, surface)
        if self.config.variant == "global":
            of_lips, coarse = Queries(*to_lips, unlike, allowed), mean_pool(base[:, :3], LATENT_STRIDE)
            pixels, latent = sample_global(
                of_lips, of_face, coarse, mask, lip, face, self.coordinate_sharpness
            )
        else:
            near, correction = self._likest(targets, lip, unlike, allowed)
            unlike = squared_distance(targets.shape, targets.pose, near.shape, near.pose)
            of_lips = Queries(*to_lips, unlike, near.present, correction)
            pixels, latent = sample_aligned(
                of_lips, of_face, surface, targets.points, mask, near, face, targets.dense, window
            )
        if min(window.size) > 0:
            with torch.autocast(base.device.type, half, enabled=half is not None):
                residual = self._residual(latent, pixels, base, window).float()
            pixels = pixels.clone() if torch.is_grad_enabled() else pixels
            window.paste(pixels, window.cut(pixels) + residual * window.cut(surface.mesh)[:, None])
            if not self.training and self.config.variant == "aligned":
                pixels = soften_hairlines(pixels, surface.cavity)
        return pixels

    def _likest(
        self, targets: _Targets, lip: EncodedReferences, unlike: Tensor, allowed: Tensor
    ) -> tuple[ReferenceBatch, Tensor]:
        """The lip references that each target blends, and what to multiply their weights by, (B, N); the
        others are not read."""
        start = self.lip_attention.start()
        near = lip.gather(topk_references(unlike, start, allowed))
        logits = -unlike.gather(1, near.rows.clamp_min(0)[..., None].expand(-1, -1, 2)) @ start
        shape, pose = near.shape - targets.shape[:, None], near.pose - targets.pose[:, None]
        correction = linear_correction(shape, pose, logits.masked_fill(~near.present, -torch.inf))
        return near.only(near.present & (correction > 0), correction)

    def _queries(self, base: Tensor, near: Window, project: JointQueries) -> list[tuple[Tensor, Tensor]]:
        """Query (B, D, L, L) and sharpness (B, 2, L, L) of both layers, computed in a window of latents, else
        0."""
        wide = near.grown(1, LATENT_SIZE, LATENT_SIZE)  # the encoder's convolutions look one latent further
        encoded = self.geometry_encoder(wide.enlarged(LATENT_STRIDE).cut(base))
        return [tuple(_placed(part.float(), wide) for part in pair) for pair in project(encoded, wide.cut)]

    def fusion_mask(self, geometry: Tensor, surface: Surface) -> Tensor:
        """M^l of eq. 4, (B, 1, R, R) in [0, 1]: where Lip-Attention is shown. Ablations show one of the two
        layers only."""
        return geometry[:, 3:]

    def _residual(self, latent: Tensor, pixels: Tensor, geometry: Tensor, window: Window) -> Tensor:
        """What the decoder adds inside a window, computed at 256 x 256 and carried to the crop's own size."""
        size = pixels.shape[-1]
        step = size // latent.shape[-1]
        near = window.scaled(step)  # on latents
        fine, height, width = near.enlarged(LATENT_STRIDE), *window.size
        small = window.cut(pixels)
        if size != CROP_SIZE:
            small = F.interpolate(small, near.enlarged(LATENT_STRIDE).size, mode="bilinear", antialias=True)
        residual = self.decoder(near.cut(latent), small, fine.cut(geometry))
        return (
            residual
            if size == CROP_SIZE
            else F.interpolate(residual, (height, width), mode="bilinear", align_corners=False)
        )


def half_precision(device: str) -> torch.dtype | None:
    """What autocast would run in here, None where it is off. Only convolutions do: places, weights and
    colours are too fine for it."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def channels_last(images: Tensor) -> Tensor:
    """The same images laid out pixel by pixel in memory, which convolutions with few channels read faster."""
    return images.contiguous(memory_format=torch.channels_last)


@lru_cache(maxsize=8)
def geometry_values(face_model: FaceModel) -> Tensor:
    """(V, 4): PNCC colour and lip weight of every vertex, what geometry maps show."""
    with torch.inference_mode(False):  # so that training can use them, whoever asked first
        return torch.cat([face_model.pncc_colour, lip_weight(face_model)[:, None]], dim=1)


def geometry_map(surface: Surface, face_model: FaceModel, values: Tensor | None = None) -> Tensor:
    """(*, 4, H, W): PNCC without the skirt, background 0, and the soft lip mask, of drawn meshes. values: of
    :func:`geometry_values`."""
    values = geometry_values(face_model) if values is None else values
    window = bounding_window(surface.face)
    picture = values.new_zeros(*surface.face.shape, 4)  # channels last in memory
    picture = rearrange(picture, "... h w k -> ... k h w")
    window.paste(picture, surface.interpolate(values, window) * window.cut(surface.face).unsqueeze(-3))
    return picture


def together(rows: range, size: int, device: torch.device) -> Iterator[slice]:
    """Runs of frames worked on in one operation each: fewer, larger ones, of so many pixels as stay in a
    processor's cache."""
    most = max(1, (TOGETHER if device.type == "cpu" else TOGETHER_GPU) * CROP_SIZE**2 // size**2)
    for start in range(rows.start, rows.stop, most):
        yield slice(start, min(start + most, rows.stop))


def _placed(part: Tensor, window: Window, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Latents (N, C, h, w) of a window as whole ones (N, C, L, L), 0 elsewhere."""
    whole = part.new_zeros(()).expand(*part.shape[:2], LATENT_SIZE, LATENT_SIZE)
    whole = torch.zeros_like(whole, memory_format=layout)
    window.paste(whole, part)
    return whole


def _at_crop_size(pictures: Tensor) -> Tensor:
    """(N, C, R, R) at 256 x 256, where the encoders look."""
    if pictures.shape[-1] == CROP_SIZE:
        return pictures
    return F.interpolate(pictures, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)


def _crop_size(crops: Tensor) -> int:
    size = check_shape("crops", crops, "N", 3, "R", "R")["R"]
    if size < CROP_SIZE or size % (CROP_SIZE // LATENT_STRIDE):
        raise ShapeError(
            f"crops are {size} pixels wide but expected a multiple of {CROP_SIZE // LATENT_STRIDE} from "
            f"{CROP_SIZE} up."
        )
    return size


def build_renderer(config: RendererConfig, seed: int = 0) -> DualAttentionRenderer:
    """A renderer with its geometric start: it samples sensibly before any training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DualAttentionRenderer(config).eval()


def save_renderer(path: Path, renderer: DualAttentionRenderer, *, licence: str, card: str) -> str:
    """Write weights and config as safetensors; returns the sha256."""
    tensors = {
        name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in renderer.state_dict().items()
    }
    return save_checkpoint(
        path, tensors, kind=KIND, config=asdict(renderer.config), licence=licence, card=card
    )


def load_renderer(path: Path, device: torch.device | str = "cpu") -> DualAttentionRenderer:
    """Load a renderer for inference: parameters frozen.

    Raises:
        WeightsError: the file is missing, corrupted, of another kind, or does not fit.
    """
    checkpoint = load_checkpoint(path, kind=KIND)
    try:
        renderer = DualAttentionRenderer(RendererConfig(**checkpoint.config))
    except TypeError as error:
        raise WeightsError(
            f"{path} has settings this release does not know ({error}); update PersonaTalk or its weights."
        ) from error
    return load_into(renderer, checkpoint, str(path)).requires_grad_(False).to(device)
