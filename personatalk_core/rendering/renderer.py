"""The dual-attention face renderer: new geometry and reference pixels in, new pixels out (paper 3.2).

Encode references once (:meth:`DualAttentionRenderer.encode_references`), render many targets from them. Does not know
videos, crops' places in a frame, or how references were chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
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
from .correspondence import Surface, Window, bounding_window, draw_surface
from .decoder import NEAR, REACH, TextureDecoder
from .detail import fine_strength
from .dual_attention import FACE_SHARPNESS, LIP_SHARPNESS, JointKeyValues, JointQueries, ReferenceAttention, unlikeness
from .encoded_references import EncodedReferences, LentReferences
from .encoders import LatentEncoder
from .frame_threads import over_frames
from .global_sampling import COORDINATE_SHARPNESS, sample_global
from .local_linear import linear_correction, most_alike
from .near_closed_lips import soften_hairline
from .regions import lip_weight
from .similarity import head_pose, mouth_shape
from .visibility import vertex_visibility

KIND = "renderer"
MARGIN = 3  # latents around a reference's mesh that are encoded, too: sampling beside the mesh's border reads them
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


@dataclass(frozen=True, eq=False)
class _Target:
    """One frame to render: surface, geometry (4, R, R), points (V, 3), shape (S,) and pose (9,); window of pixels; dense as in render."""

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
        values, project = geometry_values(face_model), self._key_values()
        shape, pose = mouth_shape(expression, face_model), head_pose(points, face_model)
        crops, scaled = channels_last(crops), points * (CROP_SIZE / size)

        def encode(rows: range) -> Iterator[EncodedReferences]:
            part = slice(rows.start, rows.stop)
            surfaces = draw_surface(scaled[part], face_model, CROP_SIZE)
            seen = vertex_visibility(scaled[part], torch.stack([surface.depth for surface in surfaces]), face_model)
            for k, b in enumerate(rows):
                one = slice(b, b + 1)
                geometry = geometry_map(surfaces[k], face_model, values)[None]
                near = bounding_window(surfaces[k].mesh, LATENT_STRIDE).scaled(LATENT_STRIDE).grown(MARGIN, LATENT_SIZE, LATENT_SIZE)
                lip, face = self._latents(geometry, _at_crop_size(crops[one]), near, project)
                yield EncodedReferences(
                    pixels=crops[one], points=points[one], seen=seen[k : k + 1], shape=shape[one], pose=pose[one],
                    pncc=F.avg_pool2d(geometry, LATENT_STRIDE), lip_key_value=lip, face_key_value=face,
                    strength=fine_strength(crops[one], size // LATENT_SIZE)[:, None],
                )  # fmt: skip

        parts = over_frames(encode, count, crops.device)
        return replace(EncodedReferences.join(parts), pixels=crops)

    def encode_drawn(
        self, crops: Tensor, points: Tensor, expression: Tensor, geometry: Tensor, seen: Tensor, face_model: FaceModel
    ) -> EncodedReferences:
        """The same for frames that were drawn before, all together: geometry (N, 4, 256, 256) of :func:`geometry_map`, seen (N, V)."""
        everywhere = Window(0, LATENT_SIZE, 0, LATENT_SIZE)
        lip, face = self._latents(geometry, channels_last(_at_crop_size(crops)), everywhere, self._key_values())
        return EncodedReferences(
            pixels=channels_last(crops), points=points, seen=seen,
            shape=mouth_shape(expression, face_model), pose=head_pose(points, face_model),
            pncc=F.avg_pool2d(geometry, LATENT_STRIDE), lip_key_value=lip, face_key_value=face,
            strength=fine_strength(crops, crops.shape[-1] // LATENT_SIZE)[:, None],
        )  # fmt: skip

    def _key_values(self) -> JointKeyValues:
        return JointKeyValues((self.lip_attention, self.face_attention), LATENT_SIZE)

    def _latents(self, geometry: Tensor, base: Tensor, near: Window, project: JointKeyValues) -> list[Tensor]:
        """Keys and values (N, 2 D, L, L) of both layers from pictures (N, 4 or 3, 256, 256), computed in a window of latents, else 0."""
        wide = near.grown(1, LATENT_SIZE, LATENT_SIZE)  # the encoders' convolutions look one latent further
        pixels = wide.enlarged(LATENT_STRIDE)
        where, texture = self.geometry_encoder(pixels.cut(geometry)), self.texture_encoder(pixels.cut(base))
        found = project(where, texture, wide.cut)
        if wide.size == (LATENT_SIZE, LATENT_SIZE):
            return found
        whole = [channels_last(part.new_zeros(*part.shape[:2], LATENT_SIZE, LATENT_SIZE)) for part in found]
        for target, part in zip(whole, found, strict=True):
            wide.paste(target, part)
        return whole

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
        values, project = geometry_values(face_model), JointQueries((self.lip_attention, self.face_attention), LATENT_SIZE)
        shape, pose = mouth_shape(target_expression, face_model), head_pose(target_points, face_model)

        def render(rows: range) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            surfaces = draw_surface(target_points[rows.start : rows.stop], face_model, size)
            for surface, b in zip(surfaces, rows, strict=True):
                geometry = geometry_map(surface, face_model, values)
                window = Window(0, size, 0, size)
                if not dense:
                    shown = surface.mesh if wanted is None else surface.mesh & wanted[b]
                    step = size // LATENT_SIZE
                    window = bounding_window(shown, step)
                    if min(window.size) > 0:
                        window = window.grown((REACH if wanted is None else NEAR) * step, size, size)
                target = _Target(surface, geometry, target_points[b], shape[b], pose[b], window, dense)
                own = face.lend(face_index[b].tolist())
                yield self._render_one(target, lip, own, lip_allowed[b], project, face_model), geometry[3:], surface.face

        rgb, mask, drawn = (torch.stack(parts) for parts in zip(*over_frames(render, count, target_points.device), strict=True))
        return RenderedCrops(rgb if self.training else rgb.clamp(0, 1), mask, rearrange(drawn, "b h w -> b 1 h w").float())

    def _render_one(
        self, target: _Target, lip: EncodedReferences, face: LentReferences, allowed: Tensor, project: JointQueries, face_model: FaceModel
    ) -> Tensor:
        """One target's picture, (3, R, R)."""
        window, surface, size = target.window, target.surface, target.geometry.shape[-1]
        base = _at_crop_size(target.geometry[None])  # (1, 4, 256, 256)
        to_lips, to_face = self._queries(base, window.scaled(size // LATENT_SIZE), project)
        unlike = unlikeness(target.shape, target.pose, lip.shape, lip.pose)
        of_face = Queries(*to_face, unlikeness(target.shape, target.pose, face.shape, face.pose))
        mask = self.fusion_mask(target.geometry, surface)
        if self.config.variant == "global":
            of_lips, coarse = Queries(*to_lips, unlike, allowed), F.avg_pool2d(base[0, :3], LATENT_STRIDE)
            pixels, latent = sample_global(of_lips, of_face, coarse, mask, lip, face.whole[face.rows], self.coordinate_sharpness)
        else:
            start = self.lip_attention.start()
            rows = most_alike(unlike, start, allowed)
            shape, pose = lip.shape[rows] - target.shape, lip.pose[rows] - target.pose
            correction = linear_correction(shape, pose, -unlike[rows] @ start)
            used = correction > 0  # the others would be read for nothing
            rows, correction = rows[used], correction[used]
            near, unlike = lip.lend(rows.tolist()), unlike[rows]
            of_lips = Queries(*to_lips, unlike, correction=correction)
            pixels, latent = sample_aligned(of_lips, of_face, surface, target.points, mask, near, face, face_model, target.dense, window)
        if min(window.size) > 0:
            residual = self._residual(latent[None], pixels[None], base, window)
            pixels = pixels.clone() if torch.is_grad_enabled() else pixels
            window.paste(pixels, window.cut(pixels) + residual[0] * window.cut(surface.mesh))
            if not self.training and self.config.variant == "aligned":
                pixels = soften_hairline(pixels, surface.cavity)
        return pixels

    def _queries(self, base: Tensor, near: Window, project: JointQueries) -> list[tuple[Tensor, Tensor]]:
        """Query (D, L, L) and sharpness (2, L, L) of both layers, computed in a window of latents, else 0."""
        wide = near.grown(1, LATENT_SIZE, LATENT_SIZE)  # the encoder's convolutions look one latent further
        encoded = self.geometry_encoder(wide.enlarged(LATENT_STRIDE).cut(base))
        read = []
        for pair in project(encoded, wide.cut):
            whole = [part.new_zeros(part.shape[1], LATENT_SIZE, LATENT_SIZE) for part in pair]
            for target, part in zip(whole, pair, strict=True):
                wide.paste(target, part[0])
            read.append(tuple(whole))
        return read

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


def geometry_values(face_model: FaceModel) -> Tensor:
    """(V, 4): PNCC colour and lip weight of every vertex, what geometry maps show."""
    return torch.cat([face_model.pncc_colour, lip_weight(face_model)[:, None]], dim=1)


def geometry_map(surface: Surface, face_model: FaceModel, values: Tensor | None = None) -> Tensor:
    """(4, H, W): PNCC without the skirt, background 0, and the soft lip mask, of a drawn mesh. values: of :func:`geometry_values`."""
    values = geometry_values(face_model) if values is None else values
    window = bounding_window(surface.face)
    picture = values.new_zeros(*surface.face.shape, 4)  # channels last in memory
    picture = rearrange(picture, "h w k -> k h w")
    window.paste(picture, surface.interpolate(values, window) * window.cut(surface.face))
    return picture


def _at_crop_size(pictures: Tensor) -> Tensor:
    """(N, C, R, R) at 256 x 256, where the encoders look."""
    if pictures.shape[-1] == CROP_SIZE:
        return pictures
    return F.interpolate(pictures, (CROP_SIZE, CROP_SIZE), mode="bilinear", antialias=True)


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
