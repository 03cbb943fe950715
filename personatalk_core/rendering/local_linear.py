"""Which references the mouth is blended from, and weights that leave the blend no bias in mouth shape or pose.

Weights that fall with the difference alone (a kernel average) pull every mouth towards the middle of its references: wide
mouths come out of smaller ones. Local linear regression, the same weights corrected to first order, asks that the
references' differences from the target cancel.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEGLIGIBLE = 12.0  # references whose logit lies this far below the best are not read
MOST_USED = 12  # references a frame blends; the others would hardly weigh
POSE_SHARE = 0.03  # what a unit of head_pose counts against a unit of mouth shape
MOST_CORRECTION = 4.0  # and at least 0: no reference is subtracted, none counts for much more than its likeness says
RIDGE = 1e-5  # squared units of mouth shape: differences below its root need not cancel
LEAST = 0.2  # least sum of the corrected weights, of 1, that is divided by


def most_alike(difference: Tensor, sharpness: Tensor, allowed: Tensor, count: int = MOST_USED) -> Tensor:
    """The references with the largest geometric logits.

    Args:
        difference: (N, 2) squared, of mouth shape and pose.  sharpness: (2,) > 0.  allowed: (N,) bool, at least one.
    Returns:
        (M,) int64, the likest first; at most ``count``, and none of next to no weight.
    """
    cost = (difference @ sharpness).masked_fill(~allowed, torch.inf).sort(stable=True)
    return cost.indices[:count][cost.values[:count] < cost.values[0] + NEGLIGIBLE]


def linear_correction(shape: Tensor, pose: Tensor, logits: Tensor) -> Tensor:
    """What to multiply the weights softmax(logits) by.

    Args:
        shape:  (N, S) mouth shapes of the references minus the target's.  pose: (N, 9) likewise.  logits: (N,).
    Returns:
        (N,): corrected weights sum to 1, and their mean difference from the target is 0 as far as RIDGE and the limits allow.
    """
    weights = torch.softmax(logits, dim=0)
    offset = torch.cat([shape, POSE_SHARE * pose], dim=1)
    mean = weights @ offset
    centred = offset - mean
    products = centred @ centred.T  # (N, N)
    ridge = RIDGE * torch.eye(len(offset), device=offset.device, dtype=offset.dtype)
    correction = 1.0 + torch.linalg.solve(ridge + products * weights, -(centred @ mean))
    return correction.clamp(0.0, MOST_CORRECTION)


def corrected(weights: Tensor, correction: Tensor | None) -> Tensor:
    """Weights (N, h, w) times the correction (N,), made to sum to 1 again."""
    if correction is None:
        return weights
    weights = weights * correction[:, None, None]
    return weights / weights.sum(dim=0, keepdim=True).clamp_min(LEAST)
