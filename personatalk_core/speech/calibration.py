"""What is done to generated expression after the network: the style's calibration, then the closing of lips.

Not in the paper. Both undo what a network trained on averages gets wrong. A style asks for a mean and a
spread of every coefficient; known speech, generated in that style, shows how far the network falls short, and
every frame is corrected by that. And because sound does not tell exactly when lips meet, lips that all but
meet are made to: dips of the opening are deepened a little, and a nearly closed mouth is closed further. An
open mouth is left as it is; two frames to either side take part, nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

GAIN_RANGE = 0.7, 1.4  # a coefficient that speech hardly moves stays quiet, however much the person moves it
GAIN_POWER = 0.5  # a style tells spread less surely than mean
MIN_SPREAD = 1e-3  # standard deviations of the face model
REST_SHARE = 0.1  # of the frames, the least open ones

DIP_GAIN = 0.5  # times the depth of a dip below its smoothed neighbourhood
CLOSED_PULL = 0.2  # share by which the least open mouth closes
CLOSED_WIDTH = 0.3  # openness, of 1, at which that has faded
SMOOTHING = (1.0, 2.0, 3.0, 2.0, 1.0)  # weights of neighbouring frames at 25 fps

ExpressionNetwork = Callable[[Tensor, Tensor, Tensor], Tensor]
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
class LipClosing:
    """slope (E,): opening for each coefficient; direction (E,): the nearest change, in vertices, that opens
    by one; low, span: opening of this person's mouth at rest, and from there to wide open, in the unit of the
    slope."""

    slope: Tensor
    direction: Tensor
    low: float
    span: float

    def __call__(self, expression: Tensor) -> Tensor:
        """(T, E) at 25 fps to (T, E)."""
        slope, direction = self.slope.to(expression), self.direction.to(expression)
        openness = (expression @ slope - self.low) / self.span  # (T,), 0 at rest, 1 wide open
        change = deepen_closures(openness) - openness
        return expression + rearrange(change, "t -> t 1") * self.span * direction


def deepen_closures(openness: Tensor) -> Tensor:
    """(T,) openness at 25 fps, 0 at rest and 1 wide open, to that of lips that meet."""
    weights = torch.tensor(SMOOTHING, dtype=openness.dtype, device=openness.device)
    padded = F.pad(rearrange(openness, "t -> 1 1 t"), (len(SMOOTHING) // 2,) * 2, mode="replicate")
    smooth = F.conv1d(padded, rearrange(weights / weights.sum(), "k -> 1 1 k"))[0, 0]
    deeper = openness - DIP_GAIN * (smooth - openness).clamp(min=0)
    pulled = deeper * (1 - CLOSED_PULL * torch.exp(-((deeper / CLOSED_WIDTH) ** 2)))
    return torch.where(deeper > 0, pulled, deeper)


@dataclass(frozen=True, eq=False)
class Comparison:
    """spoken (N, E): known speech in a style; ratio (E,): spread asked for over spread reached; shift (E,):
    mean asked for less mean reached."""

    spoken: Tensor
    ratio: Tensor
    shift: Tensor


class StyleCalibration(nn.Module):
    """What a style asks for, and known speech to see what it gets.

    ``speech`` (R, T, D): audio features of R windows; ``weight`` (D, 2 E) and ``bias`` (2 E): mean and spread
    over time of the lower coefficients, linear in the style; ``free`` (E, E): takes out of a shift what would
    open or close the lips, for these must still meet at /p/, /b/ and /m/; ``opening`` and ``way`` (E,): slope
    and direction of :class:`LipClosing`; ``usual_ratio`` and ``usual_shift`` (E,): what the known text does
    to the average person. All are set by ``training/speech/calibration.py``.
    """

    speech: Tensor
    weight: Tensor
    bias: Tensor
    free: Tensor
    opening: Tensor
    way: Tensor
    usual_ratio: Tensor
    usual_shift: Tensor

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

    def target_statistics(self, style: Tensor) -> tuple[Tensor, Tensor]:
        """(D,) to mean and spread over time, (E,) each, of a person who speaks so."""
        mean, spread = (style @ self.weight + self.bias).chunk(2)
        return mean, spread.clamp(min=MIN_SPREAD)

    def compare(self, network: ExpressionNetwork, style: Tensor, template: Tensor) -> Comparison:
        """Known speech in a style (D,) on a template face (L, 3), against what the style asks for."""
        count = len(self.speech)
        styles, templates = repeat(style, "d -> r d", r=count), repeat(template, "l c -> r l c", r=count)
        spoken = rearrange(network(self.speech, styles, templates), "r t e -> (r t) e")
        mean, spread = self.target_statistics(style)
        reached = spoken.std(0, correction=0).clamp(min=MIN_SPREAD)
        return Comparison(spoken, spread / reached, mean - spoken.mean(0))

    def forward(self, found: Comparison) -> tuple[Correction, LipClosing]:
        """What is done to every frame spoken in a style, from what :meth:`compare` found of it."""
        opening = found.spoken @ self.opening  # (N,)
        rest = found.spoken[opening <= opening.quantile(REST_SHARE)].mean(0)
        gain = (found.ratio / self.usual_ratio).pow(GAIN_POWER).clamp(*GAIN_RANGE)
        correction = Correction(rest, self.free @ (found.shift - self.usual_shift), gain)
        corrected = correction(found.spoken) @ self.opening  # (N,)
        low, high = (float(corrected.quantile(q)) for q in (0.05, 0.95))
        return correction, LipClosing(self.opening, self.way, low, max(high - low, MIN_SPREAD))
