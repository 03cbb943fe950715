"""How alike a target frame and a reference are, before anything is learned, and what follows from it: which
references the mouth is blended from, and weights that leave the blend no bias in mouth shape or pose.

Mouth shape and head pose are compared in units that do not depend on the person: canonical units for the
mouth, and the entries of the matrix that turns the mean face into the drawn one for the pose.

Weights that fall with the difference alone (a kernel average) pull every mouth towards the middle of its
references: wide mouths come out of smaller ones. Local linear regression, the same weights corrected to first
order, asks that the references' differences from the target cancel.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from einops import einsum, rearrange
from torch import Tensor

from ..checks import check_shape
from ..geometry.face_model import FaceModel, Region
from .batch import EncodedReferences, Frames, ReferenceBatch, ReferenceFrames, Targets
from .regions import mouth_vertices

# Before training: logit per squared canonical unit of mouth shape difference, and per squared unit of
# head_pose difference. Chosen on speakers held out of the training corpus.
LIP_SHARPNESS = (2000.0, 10.0)
FACE_SHARPNESS = (300.0, 100.0)
NEGLIGIBLE = 12.0  # references whose logit lies this far below the best are not read
MAX_BLENDED = 20  # references a frame blends; the others would hardly weigh
POSE_SHARE = 0.03  # what a unit of head_pose counts against a unit of mouth shape
# and at least 0: no reference is subtracted, none counts for much more than its similarity says
MAX_CORRECTION = 4.0
RIDGE = 1e-5  # squared units of mouth shape: differences below its root need not cancel
UNSEEN = 1e-3  # weight left to what no reference saw, so that something is always drawn
MIN_TOTAL = 0.2  # least sum of the corrected weights, of 1, that is divided by
Weighted = tuple[ReferenceBatch, "Tensor | None"]  # references for each target, and factors of their weights


def mouth_shape(expression: Tensor, face_model: FaceModel) -> Tensor:
    """The mouth's shape as offsets of its vertices from rest.

    Args:
        expression: (N, E) in standard deviations; only the lower-face columns are used.
        face_model: ``expression_basis`` (E, V, 3).
    Returns:
        (N, S) float32, scaled so that the squared distance of two rows is the mean squared offset of a mouth
        vertex in canonical units.
    Raises:
        ShapeError: the expression's width is not the face model's.
    """
    check_shape("expression", expression, "N", face_model.expression_basis.shape[0])
    return expression[:, : face_model.lower_count] @ _mouth_basis(face_model).to(expression.device)


def head_pose(points: Tensor, face_model: FaceModel) -> Tensor:
    """The head's orientation, read back from drawn vertices.

    Args:
        points:     (N, V, 3) x, y in pixels, depth in the same unit.
        face_model: the mean face the points are compared with.
    Returns:
        (N, 9) float32: the least-squares matrix from the mean face to the points, divided by its own size, so
        that it is close to a rotation matrix; row order.
    """
    used, inverse = (x.to(points.device) for x in _face_inverse(face_model))
    centred = points[:, used] - points[:, used].mean(dim=1, keepdim=True)
    matrix = torch.einsum("ck,nkd->ncd", inverse, centred)  # (N, 3, 3)
    size = matrix.flatten(1).norm(dim=1).clamp_min(1e-6) / 3.0**0.5
    return rearrange(matrix, "n c d -> n (c d)") / size[:, None]


def describe(frames: Frames, face_model: FaceModel) -> Frames:
    """Targets or reference frames with mouth shape and head pose filled in.

    Describe all frames of a batch before it is cut into chunks: in single precision the last bits of these
    products depend on how many frames are multiplied together.
    """
    shape, pose = shape_and_pose(frames, face_model)
    return replace(frames, shape=shape, pose=pose)


def shape_and_pose(frames: ReferenceFrames | Targets, face_model: FaceModel) -> tuple[Tensor, Tensor]:
    """(N, S) and (N, 9): mouth shape and head pose, as they were filled in or worked out."""
    if frames.shape is not None and frames.pose is not None:
        return frames.shape, frames.pose
    with torch.autocast(frames.points.device.type, enabled=False):
        return mouth_shape(frames.expression, face_model), head_pose(frames.points, face_model)


@lru_cache(maxsize=8)
def _mouth_basis(face_model: FaceModel) -> Tensor:
    """(lower_count, S): what a standard deviation of each lower-face component does to the mouth."""
    with torch.inference_mode(False):  # so that training can use it, whoever asked first
        mouth = mouth_vertices(face_model)
        basis = face_model.expression_basis[: face_model.lower_count, mouth]  # (lower, K, 3)
        return rearrange(basis, "e k c -> e (k c)") / len(mouth) ** 0.5


@lru_cache(maxsize=8)
def _face_inverse(face_model: FaceModel) -> tuple[Tensor, Tensor]:
    """Vertices of the face proper (K,), and the pseudo-inverse (3, K) of their places in the mean face."""
    with torch.inference_mode(False):
        used = torch.unique(face_model.triangles[face_model.region == int(Region.FACE)])
        mean = face_model.mean[used]
        return used, torch.linalg.pinv(mean - mean.mean(dim=0))


def squared_distance(shape: Tensor, pose: Tensor, reference_shape: Tensor, reference_pose: Tensor) -> Tensor:
    """Squared differences of mouth shape and head pose between targets, (B, S) and (B, 9), and references:
    (B, N, 2), >= 0.

    The references are shared, (N, S) and (N, 9), or chosen for each target, (B, N, S) and (B, N, 9).
    """
    pairs = ((reference_shape, shape), (reference_pose, pose))
    return torch.stack(
        [(reference - target[:, None]).square().sum(dim=-1) for reference, target in pairs], dim=-1
    )


def geometric_logits(sharpness: Tensor, distance: Tensor, allowed: Tensor | None = None) -> Tensor:
    """The geometric start of the logits: (B, 2, h, w) and (B, N, 2) of :func:`squared_distance` to (B, N, h,
    w), <= 0, -inf for references not allowed (B, N)."""
    logits = -einsum(distance, sharpness, "b n k, b k h w -> b n h w")
    return logits if allowed is None else logits.masked_fill(~allowed[..., None, None], -torch.inf)


def topk_references(distance: Tensor, sharpness: Tensor, allowed: Tensor, count: int = MAX_BLENDED) -> Tensor:
    """The references with the largest geometric logits.

    Args:
        distance:  (B, N, 2) squared, of mouth shape and pose.
        sharpness: (2,) > 0.
        allowed:   (B, N) bool, at least one a row.
    Returns:
        (B, M) int64, the nearest first; M at most ``count``, and -1 for those of next to no weight.
    """
    cost = (distance @ sharpness).masked_fill(~allowed, torch.inf).sort(dim=1, stable=True)
    weighty = cost.values[:, :count] < cost.values[:, :1] + NEGLIGIBLE
    return torch.where(weighty, cost.indices[:, :count], -1)


def nearest_references(
    shape: Tensor, pose: Tensor, references: EncodedReferences, sharpness: Tensor, allowed: Tensor
) -> Weighted:
    """The references that each target's mouth is blended from; the others are not read.

    Args:
        shape, pose: (B, S) and (B, 9) of the targets.
        references:  N, shared by the targets.
        sharpness:   (2,), what a difference of mouth shape and of head pose costs.
        allowed:     (B, N) bool, at least one a row.
    Returns:
        n references for each target, n at most MAX_BLENDED, and what to multiply their weights by, (B, n).
    """
    distance = squared_distance(shape, pose, references.shape, references.pose)
    nearest = references.gather(topk_references(distance, sharpness, allowed))
    logits = -distance.gather(1, nearest.rows.clamp_min(0)[..., None].expand(-1, -1, 2)) @ sharpness
    correction = linear_correction(
        nearest.shape - shape[:, None],
        nearest.pose - pose[:, None],
        logits.masked_fill(~nearest.present, -torch.inf),
    )
    return nearest.select(nearest.present & (correction > 0), correction)


def linear_correction(shape: Tensor, pose: Tensor, logits: Tensor) -> Tensor:
    """What to multiply the weights softmax(logits) by.

    Args:
        shape:  (B, N, S) mouth shapes of the references minus the target's.  pose: (B, N, 9) likewise.
        logits: (B, N), -inf for references that do not count.
    Returns:
        (B, N): corrected weights sum to 1, and their mean difference from the target is 0 as far as RIDGE and
        the limits allow.
    """
    weights = torch.softmax(logits, dim=1)
    offset = torch.cat([shape, POSE_SHARE * pose], dim=2)
    mean = weights[:, None] @ offset  # (B, 1, S + 9)
    centred = offset - mean
    products = centred @ centred.mT  # (B, N, N)
    ridge = RIDGE * torch.eye(offset.shape[1], device=offset.device, dtype=offset.dtype)
    correction = 1.0 + torch.linalg.solve(ridge + products * weights[:, None], -(centred @ mean.mT))[..., 0]
    return correction.clamp(0.0, MAX_CORRECTION)


def corrected(weights: Tensor, correction: Tensor | None) -> Tensor:
    """Weights (B, N, h, w) times the correction (B, N), made to sum to 1 again."""
    if correction is None:
        return weights
    weights = weights * correction[..., None, None]
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(MIN_TOTAL)


def visible_weights(weights: Tensor, visibility: Tensor) -> Tensor:
    """Lower the weights (B, N, h, w) of references that did not see a place, (B, N, h, w) in [0, 1], and let
    them sum to 1 again."""
    lowered = weights * (visibility + UNSEEN)
    return lowered / lowered.sum(dim=1, keepdim=True).clamp_min(1e-12)


def nearest_pixels(references: ReferenceBatch, distance: Tensor, sharpness: Tensor) -> Tensor:
    """The crop of each target's nearest reference, (B, 3, R, R), from distances (B, N, 2) and what they cost,
    (B, 2, L, L)."""
    cost = distance @ sharpness.mean(dim=(2, 3))[..., None]  # (B, N, 1)
    nearest = cost.masked_fill(~references.present[..., None], torch.inf).argmin(dim=1)
    return references.encoded.pixels.index_select(0, references.rows.gather(1, nearest)[:, 0]).contiguous()


def spread_evenly(allowed: Tensor, count: int = MAX_BLENDED) -> Tensor:
    """Of each row's true entries, (B, N) bool, at most ``count``, evenly spread."""
    chosen = torch.zeros_like(allowed)
    for row, marks in zip(allowed, chosen, strict=True):
        places = row.nonzero()[:, 0]
        marks[places[torch.linspace(0, len(places) - 1, min(count, len(places))).round().long()]] = True
    return chosen
