"""The fast twin of ``network.ReferenceAttention``: both layers' projections at once, and only the rectangle
where a layer is seen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from ...config import LATENT_SIZE, LATENT_STRIDE
from ..batch import ReferenceBatch
from ..detail import DETAIL_REACH, blend, blend_in_detail, colour_shift
from ..network import DualAttentionRenderer, ReferenceAttention, aligned_weights
from ..similarity import corrected, geometric_logits, visible_weights
from ..surface import Surface, resized
from .surface import corresponding_positions
from .warping import sample_rows, warp_references
from .window import Window, bounding_window, mean_pool


@dataclass(frozen=True, eq=False)
class Queries:
    """The targets' side of one attention layer.

    query (B, D, L, L), divided by sqrt(D).  sharpness (B, 2, L, L).  distance (B, N, 2): mouth shape and pose
    to each reference.  allowed (B, N) bool or None: all.  correction (B, N), factors of the weights, or None.
    """

    query: Tensor
    sharpness: Tensor
    distance: Tensor
    allowed: Tensor | None = None
    correction: Tensor | None = None


class JointQueries:
    """``query`` and ``sharpness`` of several layers in one projection: the fast twin of calling them, also
    for a part of the picture.

    What does not depend on the picture is worked out once. size: latents a side.
    """

    def __init__(self, layers: Sequence[ReferenceAttention], size: int) -> None:
        flat = [layer.to_query for layer in layers], [layer.to_sharpness for layer in layers]
        root = [math.sqrt(project.out_channels) for project in flat[0]]
        queries = [project.weight / r for project, r in zip(flat[0], root, strict=True)]
        self.weight = torch.cat([*queries, *(project.weight for project in flat[1])])
        placed = [
            resized(layer.to_query(layer.query_position), size) / r
            for layer, r in zip(layers, root, strict=True)
        ]
        starts = [
            torch.stack([layer.log_shape, layer.log_pose]) + bias_of(layer.to_sharpness) for layer in layers
        ]
        placed += [start[None, :, None, None].expand(1, -1, size, size) for start in starts]
        self.placed = torch.cat(placed, dim=1)  # (1, layers x (D + 2), L, L)
        self.widths = [sum(project.out_channels for project in group) for group in flat]
        self.count = len(layers)

    def __call__(
        self, where: Tensor, cut: Callable[[Tensor], Tensor] = lambda image: image
    ) -> list[tuple[Tensor, Tensor]]:
        """(B, C, h, w) geometry latents, ``cut`` out of the picture, to query (B, D, h, w) and sharpness (B,
        2, h, w) a layer."""
        out = F.conv2d(where, self.weight) + cut(self.placed)
        queries, sharpness = out.split(self.widths, dim=1)
        return list(
            zip(queries.chunk(self.count, dim=1), sharpness.exp().chunk(self.count, dim=1), strict=True)
        )


class JointKeyValues:
    """``key_value`` of several layers for the same references in one projection, as :class:`JointQueries`."""

    def __init__(self, layers: Sequence[ReferenceAttention], size: int) -> None:
        rows, placed = [], []
        for layer in layers:
            width = layer.to_value.in_channels
            rows += [layer.to_key.weight, F.pad(layer.to_value.weight, (0, 0, 0, 0, width, 0))]
            position = F.conv2d(layer.key_position, layer.to_key.weight[:, :width], layer.to_key.bias)
            value = bias_of(layer.to_value)[None, :, None, None]
            placed += [resized(position, size), value.expand(1, -1, size, size)]
        self.weight, self.placed, self.count = torch.cat(rows), torch.cat(placed, dim=1), len(layers)

    def __call__(
        self, where: Tensor, texture: Tensor, cut: Callable[[Tensor], Tensor] = lambda image: image
    ) -> list[Tensor]:
        """(N, C, h, w) twice to keys, then values, of each layer: (N, 2 D, h, w)."""
        out = F.conv2d(torch.cat([where, texture], dim=1), self.weight) + cut(self.placed)
        return list(out.chunk(self.count, dim=1))


Projections = tuple[JointQueries, JointKeyValues]
_PREPARED: WeakKeyDictionary[DualAttentionRenderer, tuple[object, Projections]] = WeakKeyDictionary()


def projections(network: DualAttentionRenderer) -> Projections:
    """Both layers' joint projections, kept from chunk to chunk as long as no parameter changes.

    Parameters that were made in inference mode, as a host may load them, count no changes: they are known by
    where they lie, and a network that is trained has none.
    """
    layers = network.lip_attention, network.face_attention
    parameters = [p for layer in layers for p in layer.parameters()]
    kind = parameters[0].device.type
    half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
    state = half, torch.is_inference_mode_enabled(), [version(p) for p in parameters]
    known = _PREPARED.get(network)
    if known is not None and known[0] == state and not torch.is_grad_enabled():
        return known[1]
    prepared = JointQueries(layers, LATENT_SIZE), JointKeyValues(layers, LATENT_SIZE)
    if not torch.is_grad_enabled():
        _PREPARED[network] = state, prepared
    return prepared


def version(parameter: Tensor) -> tuple[int, int]:
    """Where a parameter lies, and how often it was changed there."""
    return parameter.data_ptr(), 0 if parameter.is_inference() else parameter._version


def bias_of(layer: torch.nn.Conv2d) -> Tensor:
    """The bias of a layer that has one."""
    assert layer.bias is not None
    return layer.bias


def queries_in_window(
    network: DualAttentionRenderer, geometry: Tensor, window: Window
) -> list[tuple[Tensor, Tensor]]:
    """Query (B, D, L, L) and sharpness (B, 2, L, L) of Lip- and Face-Attention from geometry (B, 4, 256,
    256), computed in a window of latents, else 0."""
    project, _ = projections(network)
    wide = window.grown(1, LATENT_SIZE, LATENT_SIZE)  # the encoder's convolutions look one latent further
    where = network.geometry_encoder(wide.enlarged(LATENT_STRIDE).cut(geometry))
    return [
        (placed(query.float(), wide), placed(sharpness.float(), wide))
        for query, sharpness in project(where, wide.cut)
    ]


def key_values_in_window(
    network: DualAttentionRenderer, geometry: Tensor, crops: Tensor, window: Window
) -> list[Tensor]:
    """Keys and values (N, 2 D, L, L) of Lip- and Face-Attention from geometry and crops (N, 4 or 3, 256,
    256), computed in a window of latents, else 0."""
    _, project = projections(network)
    wide = window.grown(1, LATENT_SIZE, LATENT_SIZE)  # the encoders' convolutions look one latent further
    pixels = wide.enlarged(LATENT_STRIDE)
    where, texture = (
        network.geometry_encoder(pixels.cut(geometry)),
        network.texture_encoder(pixels.cut(crops)),
    )
    layers = project(where, texture, wide.cut)
    return [placed(key_value.float(), wide, torch.channels_last) for key_value in layers]


def placed(values: Tensor, window: Window, layout: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Latents (N, C, h, w) of a window as whole pictures (N, C, L, L), 0 elsewhere."""
    picture = values.new_zeros(()).expand(*values.shape[:2], LATENT_SIZE, LATENT_SIZE)
    picture = torch.zeros_like(picture, memory_format=layout)
    window.paste(picture, values)
    return picture


def vertex_window(places: Tensor, margin: float, size: int, step: int) -> Window:
    """The rectangle around places (..., 2) in crop pixels plus a margin, on multiples of ``step`` pixels
    inside the crop."""
    flat = places.flatten(0, -2)
    (left, top), (right, bottom) = torch.stack([flat.amin(dim=0), flat.amax(dim=0)]).tolist()
    most = size // step
    low = [min(max(math.floor((edge - margin) / step), 0), most - 1) for edge in (top, left)]
    high = [
        max(min(math.ceil((edge + margin) / step), most), first + 1)
        for edge, first in zip((bottom, right), low, strict=True)
    ]
    return Window(low[0], high[0], low[1], high[1]).enlarged(step)


def lip_window(mask: Tensor, step: int) -> Window:
    """Where Lip-Attention works: what lip masks (B, 1, R, R) reach, and the latents that restoring detail
    there looks at."""
    return bounding_window(mask > 0, step).grown(DETAIL_REACH * step, *mask.shape[-2:])


def attend(
    queries: Queries,
    surface: Surface,
    references: ReferenceBatch,
    key_value: Tensor,
    window: Window,
    colour: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One attention layer over aligned references inside a window: ``ReferenceAttention.forward`` without
    what lies beside the mesh.

    Args:
        surface:    B drawn targets.
        references: N of M frames for each; their pixels are sampled.
        key_value:  (M, 2 D, L, L) keys, then values, not aligned yet.
        window:     pixels to work on, of all targets.
        colour:     (images (B, 3, h, w), weight (B, 1, h, w)): references are shifted to their mean colour
            under that weight.
    Returns:
        pixels (B, 3, h, w) and latent (B, D, h / step, w / step) of the window.
    """
    images, rows = references.encoded.pixels, references.rows.flatten()
    size, latents = images.shape[-1], queries.query.shape[-1]
    step, batch = size // latents, references.rows.shape

    # warp pixels, keys and values of each reference onto the target
    positions, visibility = corresponding_positions(surface, references.points, references.visibility, window)
    pixels = warp_references(images, rows, positions.flatten(0, 1)).unflatten(0, batch)  # (B, N, 3, h, w)
    shift = None if colour is None else colour_shift(pixels, visibility, *colour)
    coarse, some = mean_pool(positions.flatten(0, 1), step), rows.clamp_min(0)  # (B N, 2, h / step, w / step)
    read = sample_rows((key_value, references.encoded.strength), some, coarse, scale=latents / size)
    key_value, strength = (x.unflatten(0, batch) for x in read)
    key, value = key_value.chunk(2, dim=2)

    # eq. 3 in the latent, then its weights on full-resolution pixels
    near = window.scaled(step)
    bias = geometric_logits(near.cut(queries.sharpness), queries.distance, queries.allowed)
    weights = corrected(aligned_weights(near.cut(queries.query), key, bias), queries.correction)
    (latent,) = blend([visible_weights(weights, mean_pool(visibility, step))], value)
    fine = F.interpolate(weights, scale_factor=step, mode="bilinear", align_corners=False)
    fine = visible_weights(fine, visibility)
    return blend_in_detail(fine, pixels, strength[:, :, 0], step, shift), latent
