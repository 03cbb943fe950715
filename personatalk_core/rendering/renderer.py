"""The renderer over batches of frames, as a dub runs it: the same as ``network.DualAttentionRenderer`` draws,
only where it is seen, and on all cores.

References are encoded once (:func:`encode_references`), then many targets are rendered from them
(:func:`render`). Does not know videos, crops' places in a frame, or how references were chosen.
"""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ..checks import check_shape
from ..config import CROP_SIZE, LATENT_SIZE, LATENT_STRIDE
from ..errors import ShapeError, WeightsError
from ..geometry.face_model import FaceModel
from ..weights.checkpoint import load_checkpoint, load_into, save_checkpoint
from .batch import EncodedReferences, ReferenceBatch, ReferenceFrames, RenderedCrops, Targets
from .detail import fine_strength, soften_hairlines
from .fast.attention import (
    Queries,
    attend,
    key_values_in_window,
    lip_window,
    placed,
    queries_in_window,
    vertex_window,
)
from .fast.cpu_chunks import map_chunks
from .fast.surface import draw_surface, geometry_map
from .fast.window import Window, bounding_window, mean_pool
from .network import DualAttentionRenderer, RendererConfig, fuse
from .regions import vertex_visibility
from .similarity import describe, head_pose, mouth_shape, nearest_pixels, shape_and_pose
from .surface import DrawnTargets, at_crop_size

KIND = "renderer"
MARGIN = 3  # latents around a reference's mesh that are encoded, too: sampling beside its border reads them
DECODER_REACH = 4  # latents around a pixel that its residual depends on: three convolutions, one to resize
ABLATIONS = ("attention", "geometric_start")  # of RendererConfig: never stored


def encode_references(
    network: DualAttentionRenderer, crops: Tensor, points: Tensor, expression: Tensor, face_model: FaceModel
) -> EncodedReferences:
    """Encode reference frames once.

    Args:
        crops:      (N, 3, R, R) in [0, 1]; R a multiple of 64, 256 or more.
        points:     (N, V, 3) the frames' vertices in crop pixels at R.
        expression: (N, E) coefficients of the frames.
    Returns:
        EncodedReferences on the same device.
    Raises:
        ShapeError: a shape differs.
    """
    check_shape("reference points", points, len(crops), face_model.vertex_count, 3)
    check_shape("reference expression", expression, len(crops), face_model.expression_count)
    pixels = channels_last(crops)
    frames = describe(ReferenceFrames(pixels, points, expression), face_model)
    encoded = map_chunks(
        lambda chunk: encode_chunk(network, chunk, face_model), frames, crop_size(crops), crops.device
    )
    return EncodedReferences.join(encoded, pixels)


def encode_chunk(
    network: DualAttentionRenderer, frames: ReferenceFrames, face_model: FaceModel
) -> EncodedReferences:
    """As :func:`encode_references`, all frames together and on the caller's thread."""
    shape, pose = shape_and_pose(frames, face_model)
    crops, points = frames.crops, frames.points
    size, device = crop_size(crops), crops.device.type
    half = half_precision(device)
    with torch.autocast(device, enabled=False):
        # the reference's geometry and where it is
        pixels, scaled = channels_last(crops), points * (CROP_SIZE / size)
        surface = draw_surface(scaled, face_model, CROP_SIZE)
        geometry = geometry_map(surface, face_model)
        window = bounding_window(surface.mesh, LATENT_STRIDE).scaled(LATENT_STRIDE)
        window = window.grown(MARGIN, LATENT_SIZE, LATENT_SIZE)

        # E_ref and E_tex, keys and values of both layers
        with torch.autocast(device, half, enabled=half is not None):
            lip, face = key_values_in_window(network, geometry, at_crop_size(pixels), window)
        drawn = mean_pool(window.enlarged(LATENT_STRIDE).cut(geometry), LATENT_STRIDE)
        return EncodedReferences(
            pixels=pixels,
            points=points,
            visibility=vertex_visibility(scaled, surface.depth, face_model),
            shape=shape,
            pose=pose,
            pncc=placed(drawn, window),
            lip_key_value=lip,
            face_key_value=face,
            strength=fine_strength(pixels, size // LATENT_SIZE)[:, None],
        )


def encode_drawn(
    network: DualAttentionRenderer,
    crops: Tensor,
    points: Tensor,
    expression: Tensor,
    geometry: Tensor,
    visibility: Tensor,
    face_model: FaceModel,
) -> EncodedReferences:
    """The same for frames that were drawn before, whole and all together: geometry (N, 4, 256, 256) of
    :func:`geometry_map`, visibility (N, V)."""
    everywhere, pixels = Window(0, LATENT_SIZE, 0, LATENT_SIZE), channels_last(crops)
    lip, face = key_values_in_window(network, geometry, channels_last(at_crop_size(crops)), everywhere)
    return EncodedReferences(
        pixels=pixels,
        points=points,
        visibility=visibility,
        shape=mouth_shape(expression, face_model),
        pose=head_pose(points, face_model),
        pncc=mean_pool(geometry, LATENT_STRIDE),
        lip_key_value=lip,
        face_key_value=face,
        strength=fine_strength(crops, crops.shape[-1] // LATENT_SIZE)[:, None],
    )


def render(
    network: DualAttentionRenderer,
    targets: Targets,
    lip: EncodedReferences,
    face: EncodedReferences,
    face_model: FaceModel,
    *,
    dense: bool = False,
) -> RenderedCrops:
    """Render target geometries.

    Paper: 3.2, eq. 3 and 4.
    Args:
        targets: B frames.
        lip:     N_l lip references, shared by the targets.
        face:    face references; each target uses the rows named by ``targets.face_index``.
        dense:   both attention layers and the decoder over the whole crop, for comparison.
    Returns:
        RenderedCrops.
    Raises:
        ShapeError: a shape differs or a target has no allowed lip reference.
    """
    targets = describe(targets, face_model)
    crops = map_chunks(
        lambda chunk: render_chunk(network, chunk, lip, face, face_model, dense=dense),
        targets,
        crop_size(face.pixels),
        targets.points.device,
    )
    return RenderedCrops(*(torch.cat([getattr(c, f.name) for c in crops]) for f in fields(RenderedCrops)))


def render_chunk(
    network: DualAttentionRenderer,
    targets: Targets,
    lip: EncodedReferences,
    face: EncodedReferences,
    face_model: FaceModel,
    *,
    dense: bool = False,
) -> RenderedCrops:
    """As :func:`render`, all targets together and on the caller's thread."""
    check_shape("target points", targets.points, len(targets), face_model.vertex_count, 3)
    check_shape("target expression", targets.expression, len(targets), face_model.expression_count)
    size, device = crop_size(face.pixels), targets.points.device.type
    step, half = size // LATENT_SIZE, half_precision(device)
    with torch.autocast(device, enabled=False):
        # G_tgt as a picture of PNCC and M^l, and the references of each target
        surface = draw_surface(targets.points, face_model, size)
        geometry = geometry_map(surface, face_model)
        target = DrawnTargets(surface, geometry, *shape_and_pose(targets, face_model))
        small, mask = at_crop_size(geometry), network.fusion_mask(target)
        lips, correction = network.choose_lips(target, lip, targets.lips(len(lip)))
        faces = face.gather(targets.face_rows(len(face)))
        if network.config.variant == "global":
            return _render_globally(network, target, lips, faces, half)

        # the rectangle of pixels that is asked for, and what the decoder looks at around it
        everywhere = window = Window(0, size, 0, size)
        if not dense:
            shown = surface.mesh if targets.wanted is None else surface.mesh & targets.wanted
            window = bounding_window(shown, step)
            window = window if window.empty else window.grown(DECODER_REACH * step, size, size)

        # E_ref(G_tgt), the queries of both layers
        with torch.autocast(device, half, enabled=half is not None):
            of_lips, of_face = queries_in_window(network, small, window.scaled(step))

        # Face-Attention (eq. 3); beside the mesh, the nearest reference's pixels
        query, sharpness = of_face
        distance = network.face_attention.distance(target, faces)
        pixels, latent = nearest_pixels(faces, distance, sharpness), query.new_zeros(query.shape)
        near = everywhere if dense else vertex_window(targets.points[..., :2], 2 * step, size, step)
        near = near.intersection(window)
        if not near.empty:
            queries, drawn = Queries(query, sharpness, distance), near.cut(target.mesh)
            face_pixels, face_latent = attend(queries, surface, faces, face.face_key_value, near)
            near.paste(pixels, fuse(face_pixels, near.cut(pixels), drawn))
            near.scaled(step).paste(latent, face_latent * (mean_pool(drawn, step) > 0))

        # Lip-Attention (eq. 3), fused by the lip mask (eq. 4)
        near = (everywhere if dense else lip_window(mask, step)).intersection(window)
        if not near.empty:
            distance = network.lip_attention.distance(target, lips)
            queries = Queries(*of_lips, distance, lips.present, correction)
            inside, coarse = near.cut(mask), near.scaled(step)
            colour = near.cut(pixels), 4.0 * inside * (1.0 - inside)
            lip_pixels, lip_latent = attend(queries, surface, lips, lip.lip_key_value, near, colour)
            near.paste(pixels, fuse(lip_pixels, near.cut(pixels), inside))
            coarse.paste(latent, fuse(lip_latent, coarse.cut(latent), mean_pool(inside, step)))

        # D_tex
        if not window.empty:
            with torch.autocast(device, half, enabled=half is not None):
                residual = decode_window(network, latent, pixels, small, window).float()
            pixels = pixels.clone() if torch.is_grad_enabled() else pixels
            window.paste(pixels, window.cut(pixels) + residual * window.cut(target.mesh))
            pixels = pixels if network.training else soften_hairlines(pixels, surface.cavity)
    return _rendered(network, pixels, target)


def _render_globally(
    network: DualAttentionRenderer,
    target: DrawnTargets,
    lips: ReferenceBatch,
    faces: ReferenceBatch,
    half: torch.dtype | None,
) -> RenderedCrops:
    """The variant ``global``: every latent of every reference, over whole crops."""
    size, device = target.geometry.shape[-1], target.geometry.device.type
    small, mask = at_crop_size(target.geometry), network.fusion_mask(target)
    with torch.autocast(device, half, enabled=half is not None):
        where = network.geometry_encoder(small)
    pixels, latent = network.attend(network.face_attention, where.float(), target, faces)
    lip_pixels, lip_latent = network.attend(network.lip_attention, where.float(), target, lips)
    pixels = fuse(lip_pixels, pixels, mask)
    latent = fuse(lip_latent, latent, mean_pool(mask, size // LATENT_SIZE))
    with torch.autocast(device, half, enabled=half is not None):
        residual = decode_window(network, latent, pixels, small, Window(0, size, 0, size)).float()
    return _rendered(network, pixels + residual * target.mesh, target)


def _rendered(network: DualAttentionRenderer, pixels: Tensor, target: DrawnTargets) -> RenderedCrops:
    rgb = pixels if network.training else pixels.clamp(0, 1)
    return RenderedCrops(rgb, target.lip_mask, target.face)


def decode_window(
    network: DualAttentionRenderer, latent: Tensor, pixels: Tensor, geometry: Tensor, window: Window
) -> Tensor:
    """What the decoder adds inside a window, computed at 256 x 256 and enlarged to the crop's size."""
    size, near = pixels.shape[-1], window.scaled(pixels.shape[-1] // LATENT_SIZE)  # in latents
    fine, small = near.enlarged(LATENT_STRIDE), window.cut(pixels)
    if size != CROP_SIZE:
        small = F.interpolate(small, fine.size, mode="bilinear", antialias=True)
    residual = network.decoder(near.cut(latent), small, mean_pool(fine.cut(geometry), LATENT_STRIDE))
    if size == CROP_SIZE:
        return residual
    return F.interpolate(residual, window.size, mode="bilinear", align_corners=False)


def half_precision(device: str) -> torch.dtype | None:
    """What autocast would run in here, None where it is off. Only convolutions do: places, weights and
    colours are too fine for it."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


def channels_last(images: Tensor) -> Tensor:
    """The same images laid out pixel by pixel in memory, which convolutions with few channels read faster."""
    return images.contiguous(memory_format=torch.channels_last)


def crop_size(crops: Tensor) -> int:
    """R of crops (N, 3, R, R). Raises ShapeError when they are too small or not a multiple of 64 wide."""
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
    config = {name: value for name, value in asdict(renderer.config).items() if name not in ABLATIONS}
    return save_checkpoint(path, tensors, kind=KIND, config=config, licence=licence, card=card)


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
