"""Lips that all but meet are made to meet.

A network trained on averages closes the lips only part of the way, because the sound does not tell exactly
when they meet. Here dips of the opening are deepened a little, and a nearly closed mouth is closed further;
an open mouth is left as it is. Two frames to either side take part, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.nn import functional

DEEPER = 0.5  # times the depth of a dip below its smoothed neighbourhood
PULL, NEARLY = (
    0.2,
    0.3,
)  # share by which the least open mouth closes, and the openness, of 1, at which that has faded
SMOOTH = (1.0, 2.0, 3.0, 2.0, 1.0)


@dataclass(frozen=True, eq=False)
class LipClosing:
    """slope (E,): opening for each coefficient; way (E,): the nearest change, in vertices, that opens by one;
    low, span: opening of this person's mouth at rest, and from there to wide open, in the unit of the
    slope."""

    slope: Tensor
    way: Tensor
    low: float
    span: float

    def __call__(self, expression: Tensor) -> Tensor:
        """(T, E) at 25 fps to (T, E)."""
        slope, way = self.slope.to(expression), self.way.to(expression)
        openness = (expression @ slope - self.low) / self.span  # (T,), 0 at rest, 1 wide open
        moved = closer(openness) - openness
        return expression + rearrange(moved, "t -> t 1") * self.span * way


def closer(openness: Tensor) -> Tensor:
    """(T,) openness at 25 fps, 0 at rest and 1 wide open, to that of lips that meet."""
    weights = torch.tensor(SMOOTH, dtype=openness.dtype, device=openness.device)
    padded = functional.pad(rearrange(openness, "t -> 1 1 t"), (len(SMOOTH) // 2,) * 2, mode="replicate")
    smooth = functional.conv1d(padded, rearrange(weights / weights.sum(), "k -> 1 1 k"))[0, 0]
    deeper = openness - DEEPER * (smooth - openness).clamp(min=0)
    return torch.where(deeper > 0, deeper * (1 - PULL * torch.exp(-((deeper / NEARLY) ** 2))), deeper)


GAINS = 0.7, 1.4  # a coefficient that speech hardly moves stays quiet, however much the person moves it
GAIN_POWER = 0.5  # a style tells spread less surely than mean
LEAST_SPREAD = 1e-3
REST_SHARE = 0.1  # of the frames, the least open ones

Speaker = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Audio features (R, T, D), styles (R, D) and templates (R, L, 3) to coefficients (R, T, E)."""


@dataclass(frozen=True, eq=False)
class Correction:
    """rest, shift, gain: (E,) each; a frame x becomes rest + shift + gain (x - rest), so that a closed mouth
    stays closed."""

    rest: Tensor
    shift: Tensor
    gain: Tensor

    def __call__(self, expression: Tensor) -> Tensor:
        """(..., E) to (..., E)."""
        rest, shift, gain = (x.to(expression) for x in (self.rest, self.shift, self.gain))
        return rest + shift + gain * (expression - rest)


@dataclass(frozen=True, eq=False)
class Comparison:
    """spoken (N, E): known speech in a style; ratio (E,): spread asked for over spread reached; shift (E,):
    mean asked for less mean reached."""

    spoken: Tensor
    ratio: Tensor
    shift: Tensor


class StyleCalibration(nn.Module):
    """What a style asks for, and known speech to see what it gets.

    Not in the paper. ``speech`` (R, T, D): audio features of R windows; ``weight`` (D, 2 E) and ``bias`` (2
    E): mean and spread over time of the lower coefficients, linear in the style; ``free`` (E, E): takes out
    of a shift what would open or close the lips, for these must still meet at /p/, /b/ and /m/; ``opening``
    and ``way`` (E,): slope and way of ``LipClosing``; ``usual_ratio`` and ``usual_shift`` (E,): what the
    known text does to the average person. All are set by ``training/speech/calibration.py``.
    """

    def __init__(self, width: int, expression: int, windows: int, frames: int) -> None:
        super().__init__()
        self.register_buffer("speech", torch.zeros(windows, frames, width))
        self.register_buffer("weight", torch.zeros(width, 2 * expression))
        self.register_buffer("bias", torch.zeros(2 * expression))
        self.register_buffer("free", torch.eye(expression))
        self.register_buffer("opening", torch.zeros(expression))
        self.register_buffer("way", torch.zeros(expression))
        self.register_buffer("usual_ratio", torch.ones(expression))
        self.register_buffer("usual_shift", torch.zeros(expression))

    def asked(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """(D,) to mean and spread over time, (E,) each, of a person who speaks so."""
        mean, spread = (style @ self.weight + self.bias).chunk(2)
        return mean, spread.clamp(min=LEAST_SPREAD)

    def compare(self, network: Speaker, style: Tensor, template: Tensor) -> Comparison:
        """Known speech in a style (D,) on a template face (L, 3), against what the style asks for."""
        count = len(self.speech)
        styles, templates = repeat(style, "d -> r d", r=count), repeat(template, "l c -> r l c", r=count)
        spoken = rearrange(network(self.speech, styles, templates), "r t e -> (r t) e")
        mean, spread = self.asked(style)
        return Comparison(
            spoken, spread / spoken.std(0, correction=0).clamp(min=LEAST_SPREAD), mean - spoken.mean(0)
        )

    def forward(self, network: Speaker, style: Tensor, template: Tensor) -> tuple[Correction, LipClosing]:
        """What is done to every frame spoken in a style (D,) on a template face (L, 3); ``network`` is the
        lip-sync network."""
        found = self.compare(network, style, template)
        open_by = found.spoken @ self.opening
        rest = found.spoken[open_by <= open_by.quantile(REST_SHARE)].mean(0)
        gain = (found.ratio / self.usual_ratio).pow(GAIN_POWER).clamp(*GAINS)
        correction = Correction(rest, self.free @ (found.shift - self.usual_shift), gain)
        open_by = correction(found.spoken) @ self.opening
        low, high = (float(open_by.quantile(q)) for q in (0.05, 0.95))
        return correction, LipClosing(self.opening, self.way, low, max(high - low, LEAST_SPREAD))
