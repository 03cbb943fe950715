"""Blending several references softens what they show; this gives the blend back the strength of detail they had.

Only the amplitude of what is already there grows: no edge is drawn that the blend does not have, and nothing moves.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

FINE = 5  # px at 256: what differs from the mean over so many pixels is detail
LOCAL = 9  # px at 256: strength is compared over so many pixels
MOST = 1.8  # largest factor
LEAST_STRENGTH = 1e-5  # squared luma below which there is no detail to speak of


def restore_detail(blended: Tensor, weights: Tensor, pixels: Tensor, scale: float = 1.0) -> Tensor:
    """Raise the detail of a blend to the strength its references had.

    Args:
        blended: (3, h, w), the sum of weights x pixels.  weights: (N, h, w), sums to 1.  pixels: (N, 3, h, w), aligned.
        scale:   crop size over 256, so that the same detail is meant at every size.
    Returns:
        (3, h, w); ``blended`` itself where one reference has all the weight.
    """
    fine, local = _odd(FINE * scale), _odd(LOCAL * scale)
    soft = _box(blended[None], fine)[0]
    own = _strength((blended - soft)[None], local)[0]  # (1, h, w)
    luma = pixels.mean(dim=1, keepdim=True)
    wanted = (weights[:, None] * _box((luma - _box(luma, fine)).square(), local)).sum(dim=0)  # (1, h, w)
    factor = ((wanted + LEAST_STRENGTH) / (own + LEAST_STRENGTH)).sqrt().clamp(1.0, MOST)
    return blended + (factor - 1.0) * (blended - soft)


def _strength(fine: Tensor, local: int) -> Tensor:
    """(N, 3, h, w) to (N, 1, h, w): local mean square of the luma."""
    return _box(fine.mean(dim=1, keepdim=True).square(), local)


def _box(image: Tensor, size: int) -> Tensor:
    """Mean over size x size pixels, fewer at the border."""
    return F.avg_pool2d(image, size, stride=1, padding=size // 2, count_include_pad=False)


def _odd(size: float) -> int:
    return 2 * int(size / 2) + 1
