"""Is the mouth in step with the sound? Correlation of the opening that is seen with the opening that the
sound asks for.

The offline companion of SyncScore (paper 4.2), under its own name: ``sync_r`` and ``sync_lag``. The sound's
opening comes from any function of 16 kHz samples; :func:`hears_with` makes one of the speech networks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...checks import check_shape
from ...errors import ShapeError
from ...geometry.face_model import FaceModel
from ...geometry.vertices import mouth_opening, shape_vertices

if TYPE_CHECKING:
    from ...speech.networks import SpeechNetworks

MAX_LAG = 12  # frames at 25 fps to either side: about half a second
MIN_OVERLAP = 20  # frames that must be compared at a lag
HearOpening = Callable[[Tensor, int], Tensor]
"""(S,) mono 16 kHz samples and T frames at 25 fps to the opening heard, (T,), in any unit."""


@dataclass(frozen=True, eq=False)
class SyncCurve:
    """lags (L,) int64 in frames at 25 fps, positive: the mouth comes later than its sound.  r (L,): Pearson
    correlation at each."""

    lags: Tensor
    r: Tensor

    @property
    def best_lag(self) -> int:
        """Frames at which the correlation is largest; of equal ones the nearest to 0."""
        best = self.r == self.r.max()
        return int(min(self.lags[best].tolist(), key=abs))

    @property
    def best_r(self) -> float:
        return float(self.r.max())

    def at(self, lag: int) -> float:
        """The correlation at one lag."""
        return float(self.r[self.lags == lag][0])


def sync_curve(seen: Tensor, heard: Tensor, valid: Tensor | None = None, max_lag: int = MAX_LAG) -> SyncCurve:
    """Correlate what is seen with what is heard at every lag.

    Args:
        seen:    (T,) mouth opening in the video at 25 fps.
        heard:   (T',) opening that the sound asks for, the same clock.
        valid:   (T,) bool, frames with a usable face; None: all.
        max_lag: frames to either side.
    Returns:
        SyncCurve with 2 max_lag + 1 lags; 0 where a side does not move.
    Raises:
        ShapeError: fewer than MIN_OVERLAP + max_lag frames, or wrong shapes.
    """
    frames = check_shape("opening seen", seen, "T")["T"]
    check_shape("opening heard", heard, "S")
    valid = torch.ones(frames, dtype=torch.bool) if valid is None else valid
    check_shape("valid frames", valid, frames)
    if min(frames, len(heard)) < MIN_OVERLAP + max_lag:
        raise ShapeError(
            f"{min(frames, len(heard))} frames are too few to look for a lag of {max_lag}; use at least "
            f"{MIN_OVERLAP + max_lag}."
        )
    lags = torch.arange(-max_lag, max_lag + 1)
    values = []
    for lag in lags.tolist():  # seen[t] belongs to heard[t - lag]
        first, last = max(0, lag), min(frames, len(heard) + lag)
        keep = valid[first:last]
        values.append(
            correlation(seen[first:last][keep], heard[first - lag : last - lag][keep])
            if int(keep.sum()) >= MIN_OVERLAP
            else 0.0
        )
    return SyncCurve(lags, torch.tensor(values))


def correlation(first: Tensor, second: Tensor) -> float:
    """Pearson's r of two (T,) series; 0 where one of them does not move."""
    a, b = (x.double() - x.double().mean() for x in (first, second))
    scale = float(a.norm() * b.norm())
    return float((a * b).sum()) / scale if scale > 1e-12 else 0.0


def hears_with(networks: "SpeechNetworks", face_model: FaceModel) -> HearOpening:
    """The average speaker's mouth opening in canonical units, as speech networks of this project predict it
    from sound."""
    from ...speech.lip_sync import predict_expression, template_offsets
    from ...speech.style import style_vector

    template = template_offsets(torch.zeros(face_model.identity_count), face_model)

    def hear(samples: Tensor, frames: int) -> Tensor:
        lower = predict_expression(samples, frames, style_vector(None, networks), template, networks)
        expression = torch.zeros(frames, face_model.expression_count)
        expression[:, : face_model.lower_count] = lower
        return mouth_opening(shape_vertices(None, expression, face_model), face_model)

    return hear
