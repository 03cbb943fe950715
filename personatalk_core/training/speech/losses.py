"""Losses of the speech stage. The paper names none (3.1); these are the project's, each with one job."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import einsum, rearrange
from torch import Tensor, nn

from ...geometry.face_model import FaceModel
from ...speech.network import VERTEX_UNIT


@dataclass(frozen=True)
class SpeechLossWeights:
    """How much each term counts. See :class:`SpeechLosses`."""

    vertex: float = 1.0
    velocity: float = 2.0
    opening: float = 0.5
    width: float = 0.5
    correlation: float = 1.0
    closure: float = 1.0
    stillness: float = 1.0
    style: float = 0.1
    liveliness: float = 0.3


class MouthMeasure(nn.Module):
    """Mouth opening and width as functions of the lower coefficients, the same as ``geometry.mouth``
    measures."""

    mean: Tensor
    identity: Tensor
    expression: Tensor

    def __init__(self, face_model: FaceModel) -> None:
        super().__init__()
        ring, half = face_model.inner_lips, len(face_model.inner_lips) // 2
        upper = ring[half // 2 - 1 : half // 2 + 2]
        lower = ring[[-(half // 2) + 1, -(half // 2), -(half // 2) - 1]]
        corners = face_model.mouth_corners
        first, second = torch.cat((upper, corners[:1])), torch.cat((lower, corners[1:]))
        self.register_buffer("mean", face_model.mean[first] - face_model.mean[second])
        self.register_buffer(
            "identity", face_model.identity_basis[:, first] - face_model.identity_basis[:, second]
        )
        basis = face_model.expression_basis[: face_model.lower_count]
        self.register_buffer("expression", basis[:, first] - basis[:, second])

    def forward(self, expression: Tensor, identity: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, E_low) and (B, A) to opening (B, T) and width (B, T), canonical units."""
        person = rearrange(
            self.mean + einsum(identity, self.identity, "b a, a p c -> b p c"), "b p c -> b 1 p c"
        )
        length = (person + einsum(expression, self.expression, "b t e, e p c -> b t p c")).norm(dim=-1)
        return length[..., :-1].mean(-1), length[..., -1]


class SpeechLosses(nn.Module):
    """vertex: squared distance, lips counting five times.  velocity: of the frame-to-frame motion.  opening,
    width: of the two mouth measures.  correlation: 1 - r of the opening, blind to a person's amplitude.
    closure: opening above the true one where this person's mouth is closed.  stillness: motion in silence.
    style: mean and standard deviation over time of the output differ from those of the style asked for.
    liveliness: squared logarithm of the ratio of the spreads of opening and width to the true ones, because
    squared errors alone shrink what cannot be foreseen."""

    root: Tensor

    def __init__(self, face_model: FaceModel, weights: SpeechLossWeights) -> None:
        super().__init__()
        self.weights, self.measure = weights, MouthMeasure(face_model)
        ids = face_model.lower_vertices
        importance = torch.where(torch.isin(ids, face_model.lips), 5.0, 1.0)
        basis = face_model.expression_basis[: face_model.lower_count, ids] / VERTEX_UNIT
        basis = basis * rearrange((importance / importance.mean()).sqrt(), "l -> l 1")
        flat = rearrange(basis, "e l c -> e (l c)") / basis[0].numel() ** 0.5
        gram = flat @ flat.T
        self.register_buffer("root", torch.linalg.cholesky(gram + 1e-8 * torch.eye(len(gram))))

    def forward(
        self,
        predicted: Tensor,
        expression: Tensor,
        valid: Tensor,
        silent: Tensor,
        closed: Tensor,
        identity: Tensor,
        weight: Tensor,
    ) -> dict[str, Tensor]:
        """Terms of the frames, each a scalar; shapes as in ``SpeechBatch``."""
        count = valid * rearrange(weight, "b -> b 1")
        pair = count[:, 1:] * valid[:, :-1]
        error = (predicted - expression) @ self.root
        motion = (predicted.diff(dim=1) - expression.diff(dim=1)) @ self.root
        opening, width = self.measure(predicted, identity)
        true_opening, true_width = self.measure(expression, identity)
        closed = count * closed
        return {
            "vertex": _mean(error.square().sum(-1), count),
            "velocity": _mean(motion.square().sum(-1), pair),
            "opening": _mean(((opening - true_opening) / 0.05).square(), count),
            "width": _mean(((width - true_width) / 0.05).square(), count),
            "correlation": 0.5
            * (_decorrelation(opening, true_opening, valid) + _decorrelation(width, true_width, valid)),
            "closure": _mean(((opening - true_opening).clamp(min=0) / 0.03).square(), closed),
            "liveliness": 0.5
            * (_spread_ratio(opening, true_opening, valid) + _spread_ratio(width, true_width, valid)),
            "stillness": _mean(
                (predicted.diff(dim=1) @ self.root).square().sum(-1), silent[:, 1:] * silent[:, :-1]
            ),
        }

    def style(self, predicted: Tensor, weight: Tensor, asked: Tensor, asked_weight: Tensor) -> Tensor:
        """Distance of mean and standard deviation over time, in vertices, between (B, T, E_low) and (B, T',
        E_low)."""
        mean, deviation = _statistics(predicted @ self.root, weight)
        true_mean, true_deviation = _statistics(asked @ self.root, asked_weight)
        return (mean - true_mean).square().sum(-1).mean() + (deviation - true_deviation).square().sum(
            -1
        ).mean()

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum."""
        weighted = (getattr(self.weights, name) * value for name, value in terms.items())
        return sum(weighted, start=torch.zeros(()))


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum() / weight.sum().clamp(min=1.0)


def _decorrelation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch of 1 - r between (B, T) and (B, T); windows of under a second of valid frames do
    not count."""
    share = weight / weight.sum(1, keepdim=True).clamp(min=1.0)
    a, b = a - (a * share).sum(1, keepdim=True), b - (b * share).sum(1, keepdim=True)
    product = (a * b * share).sum(1)
    scale = ((a.square() * share).sum(1) * (b.square() * share).sum(1) + 1e-10).sqrt()
    enough = (weight.sum(1) >= 25).float()
    return ((1 - product / scale) * enough).sum() / enough.sum().clamp(min=1.0)


def _spread_ratio(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Mean over the batch of the squared logarithm of the ratio of two (B, T) series' spreads over time."""
    first, second = (_statistics(x[..., None], weight)[1][:, 0] + 0.004 for x in (a, b))
    enough = (weight.sum(1) >= 25).float()
    return ((first / second).log().square() * enough).sum() / enough.sum().clamp(min=1.0)


def _statistics(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation (B, E) over time of (B, T, E)."""
    share = rearrange(weight / weight.sum(1, keepdim=True).clamp(min=1.0), "b t -> b t 1")
    mean = (x * share).sum(1)
    return mean, ((x - mean[:, None]).square() * share).sum(1).clamp(min=1e-8).sqrt()
