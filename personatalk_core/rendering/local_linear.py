"""Which references the mouth is blended from, and weights that leave the blend no bias in mouth shape or
pose.

Weights that fall with the difference alone (a kernel average) pull every mouth towards the middle of its
references: wide mouths come out of smaller ones. Local linear regression, the same weights corrected to first
order, asks that the references' differences from the target cancel.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEGLIGIBLE = 12.0  # references whose logit lies this far below the best are not read
MOST_USED = 20  # references a frame blends; the others would hardly weigh
POSE_SHARE = 0.03  # what a unit of head_pose counts against a unit of mouth shape
MOST_CORRECTION = (
    4.0  # and at least 0: no reference is subtracted, none counts for much more than its likeness says
)
RIDGE = 1e-5  # squared units of mouth shape: differences below its root need not cancel
LEAST = 0.2  # least sum of the corrected weights, of 1, that is divided by


def topk_references(difference: Tensor, sharpness: Tensor, allowed: Tensor, count: int = MOST_USED) -> Tensor:
    """The references with the largest geometric logits.

    Args:
        difference: (B, N, 2) squared, of mouth shape and pose.  sharpness: (2,) > 0.  allowed: (B, N) bool,
            at least one a row.
    Returns:
        (B, M) int64, the likest first; M at most ``count``, and -1 for those of next to no weight.
    """
    cost = (difference @ sharpness).masked_fill(~allowed, torch.inf).sort(dim=1, stable=True)
    near = cost.values[:, :count] < cost.values[:, :1] + NEGLIGIBLE
    return torch.where(near, cost.indices[:, :count], -1)


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
    return correction.clamp(0.0, MOST_CORRECTION)


def corrected(weights: Tensor, correction: Tensor | None) -> Tensor:
    """Weights (B, N, h, w) times the correction (B, N), made to sum to 1 again."""
    if correction is None:
        return weights
    weights = weights * correction[..., None, None]
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(LEAST)
