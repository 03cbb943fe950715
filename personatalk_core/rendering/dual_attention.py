"""Lip-Attention and Face-Attention (paper 3.2, eq. 3 and 4): which reference lends its texture to which
latent.

The logits begin geometric (mouth shape, head pose) and a learned query-key product that starts at zero is
added, so an untrained network already samples sensibly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import torch
from einops import einsum, rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from .attention_kernel import attend_tokens

# Before training: logit per squared canonical unit of mouth shape difference, and per squared unit of
# head_pose difference. Chosen on speakers held out of the training corpus.
LIP_SHARPNESS = (2000.0, 10.0)
FACE_SHARPNESS = (300.0, 100.0)
UNSEEN = 1e-3  # weight left to what no reference saw, so that something is always drawn
POSITION_GRID = 16  # learnable positions live on this grid and are interpolated to the latent


class ReferenceAttention(nn.Module):
    """One of the two parallel attention layers: projections, learnable positions and the geometric start of
    its logits."""

    def __init__(
        self, width: int, attention_width: int, shape_sharpness: float, pose_sharpness: float
    ) -> None:
        super().__init__()
        self.to_query = nn.Conv2d(width, attention_width, 1)
        self.to_key = nn.Conv2d(2 * width, attention_width, 1)
        self.to_value = nn.Conv2d(width, attention_width, 1)
        self.query_position = nn.Parameter(torch.zeros(1, width, POSITION_GRID, POSITION_GRID))
        self.key_position = nn.Parameter(torch.zeros(1, width, POSITION_GRID, POSITION_GRID))
        self.log_shape = nn.Parameter(torch.tensor(math.log(shape_sharpness)))
        self.log_pose = nn.Parameter(torch.tensor(math.log(pose_sharpness)))
        self.to_sharpness = nn.Conv2d(width, 2, 1)
        for layer in (self.to_query, self.to_sharpness):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def query(self, geometry: Tensor) -> Tensor:
        """(B, width, L, L) target geometry latents to (B, D, L, L), scaled by 1 / sqrt(D)."""
        position = F.interpolate(
            self.query_position, geometry.shape[-2:], mode="bilinear", align_corners=False
        )
        query = self.to_query(geometry + position)
        return query / math.sqrt(query.shape[1])

    def key_value(self, geometry: Tensor, texture: Tensor) -> Tensor:
        """(N, width, L, L) reference latents of geometry and texture to keys, then values: (N, 2 D, L, L)."""
        position = F.interpolate(self.key_position, geometry.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat(
            [self.to_key(torch.cat([geometry + position, texture], dim=1)), self.to_value(texture)], dim=1
        )

    def start(self) -> Tensor:
        """(2,): what a difference of mouth shape and of head pose costs before the latents have their say."""
        return torch.stack([self.log_shape, self.log_pose]).exp()

    def sharpness(self, geometry: Tensor) -> Tensor:
        """(B, width, L, L) to (B, 2, L, L): how much a difference of mouth shape and of head pose costs at
        each latent, > 0."""
        start = torch.stack([self.log_shape, self.log_pose])[None, :, None, None]
        return (start + self.to_sharpness(geometry)).exp()


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
            _resized(layer.to_query(layer.query_position), size) / r
            for layer, r in zip(layers, root, strict=True)
        ]
        starts = [
            torch.stack([layer.log_shape, layer.log_pose]) + layer.to_sharpness.bias for layer in layers
        ]
        placed += [start[None, :, None, None].expand(1, -1, size, size) for start in starts]
        self.placed = torch.cat(placed, dim=1)  # (1, layers x (D + 2), L, L)
        self.widths = [sum(project.out_channels for project in group) for group in flat]
        self.count = len(layers)

    def __call__(
        self, geometry: Tensor, cut: Callable[[Tensor], Tensor] = lambda whole: whole
    ) -> list[tuple[Tensor, Tensor]]:
        """(B, width, h, w) geometry latents, ``cut`` out of the picture, to query (B, D, h, w) and sharpness
        (B, 2, h, w) a layer."""
        out = F.conv2d(geometry, self.weight) + cut(self.placed)
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
            placed += [
                _resized(position, size),
                layer.to_value.bias[None, :, None, None].expand(1, -1, size, size),
            ]
        self.weight, self.placed, self.count = torch.cat(rows), torch.cat(placed, dim=1), len(layers)

    def __call__(
        self, geometry: Tensor, texture: Tensor, cut: Callable[[Tensor], Tensor] = lambda whole: whole
    ) -> list[Tensor]:
        """(N, width, h, w) twice to keys, then values, of each layer: (N, 2 D, h, w)."""
        out = F.conv2d(torch.cat([geometry, texture], dim=1), self.weight) + cut(self.placed)
        return list(out.chunk(self.count, dim=1))


def _resized(position: Tensor, size: int) -> Tensor:
    """A grid of positions, or a 1 x 1 convolution of it, which gives the same before or after, at the
    latents."""
    return F.interpolate(position, (size, size), mode="bilinear", align_corners=False)


def squared_distance(shape: Tensor, pose: Tensor, reference_shape: Tensor, reference_pose: Tensor) -> Tensor:
    """Squared differences of mouth shape and head pose between targets, (B, S) and (B, 9), and references:
    (B, N, 2), >= 0.

    The references are shared, (N, S) and (N, 9), or each target's own, (B, N, S) and (B, N, 9).
    """
    pairs = ((reference_shape, shape), (reference_pose, pose))
    return torch.stack(
        [(of_reference - own[:, None]).square().sum(dim=-1) for of_reference, own in pairs], dim=-1
    )


def geometric_logits(sharpness: Tensor, difference: Tensor, allowed: Tensor | None = None) -> Tensor:
    """The geometric start of the logits: (B, 2, h, w) and (B, N, 2) to (B, N, h, w), <= 0, -inf for
    references not allowed (B, N)."""
    logits = -einsum(difference, sharpness, "b n k, b k h w -> b n h w")
    return logits if allowed is None else logits.masked_fill(~allowed[..., None, None], -torch.inf)


def aligned_weights(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """Attention weights of each latent over N aligned references.

    Paper: eq. 3 on keys that were warped onto the target first, so that a query meets one key a reference.
    Args:
        query: (B, D, h, w), already divided by sqrt(D).  key: (B, N, D, h, w).  bias: (B, N, h, w), the
            geometric logits.
    Returns:
        (B, N, h, w), sums to 1 over N.
    """
    return torch.softmax((query[:, None] * key).sum(dim=2) + bias, dim=1)


def aligned_weights_plain(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """The slow twin of :func:`aligned_weights`: one latent after the other."""
    weights = torch.zeros_like(bias)
    for b, y, x in product(*map(range, (len(bias), *bias.shape[-2:]))):
        logits = torch.stack(
            [
                (query[b, :, y, x] * one[:, y, x]).sum() + own[y, x]
                for one, own in zip(key[b], bias[b], strict=True)
            ]
        )
        weights[b, :, y, x] = logits.exp() / logits.exp().sum()
    return weights


def seen_weights(weights: Tensor, seen: Tensor) -> Tensor:
    """Lower the weights (B, N, h, w) of references that did not see a place, (B, N, h, w) in [0, 1], and let
    them sum to 1 again."""
    kept = weights * (seen + UNSEEN)
    return kept / kept.sum(dim=1, keepdim=True).clamp_min(1e-12)


def blend(sets: Sequence[Tensor], values: Tensor, shift: Tensor | None = None) -> list[Tensor]:
    """Weighted sums over references, for each of several sets of weights (B, N, h, w): of values (B, N, C, h,
    w), to which (B, N, C) may be added, to (B, C, h, w)."""
    totals = [weights[:, :1] * values[:, 0] for weights in sets]
    for n in range(1, values.shape[1]):  # one after the other stays in the processor's cache
        totals = [
            torch.addcmul(total, weights[:, n : n + 1], values[:, n])
            for total, weights in zip(totals, sets, strict=True)
        ]
    if shift is None:
        return totals
    return [
        total + (shift.mT @ weights.flatten(2)).view_as(total)
        for total, weights in zip(totals, sets, strict=True)
    ]


def fuse(lip: Tensor, face: Tensor, mask: Tensor) -> Tensor:
    """Eq. 4: lip x M + face x (1 - M); all (..., C, h, w) and the mask (..., 1, h, w) in [0, 1]."""
    return lip * mask + face * (1.0 - mask)


def token_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Paper eq. 3 over all tokens of all references, through the device's fastest kernel: (Q, D), (K, D), (K,
    C) to (Q, C).

    The logits are the plain products; scale beforehand.
    """
    with torch.autocast(
        query.device.type, enabled=False
    ):  # differences of squared coordinates are too fine for half precision
        return attend_tokens(query.float()[None, None], key.float()[None, None], value.float()[None, None])[
            0, 0
        ]


def token_attention_plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The slow twin of :func:`token_attention`."""
    return torch.softmax(query @ key.T, dim=-1) @ value


def augmented(coordinates: Tensor, sharpness: Tensor, *, query: bool) -> Tensor:
    """Columns whose product is -sharpness^2 |p_q - p_k|^2 up to a constant a query row: (K, 3) to (K, 4).

    -t^2 |q - k|^2 = 2 t^2 q.k - t^2 |k|^2 - t^2 |q|^2; the last term is the same for every key and drops out
    of the softmax.
    """
    if query:
        return torch.cat(
            [2.0 * sharpness.square() * coordinates, torch.ones_like(coordinates[:, :1])], dim=-1
        )
    return torch.cat([coordinates, -sharpness.square() * coordinates.square().sum(-1, keepdim=True)], dim=-1)


def tokens(image: Tensor) -> Tensor:
    """(C, h, w) to (h w, C)."""
    return rearrange(image, "c h w -> (h w) c")
