"""Changing generated geometry before it is rendered: how far the mouth moves, how smooth, how early, which expression is added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..checks import check_shape
from ..errors import OptionsError
from ..types import FaceGeometry
from .face_model import FaceModel

MAX_SHIFT = 2.0  # seconds the mouth may be moved against the sound


@dataclass(frozen=True)
class GeometryEdit:
    """lower_gain: 0 keeps the clip's median mouth still, 1 as it is, up to 2 exaggerates.  upper_gain: the same for brows,
    cheeks and lids.  smoothing: seconds, standard deviation of a Gaussian over the lower face, 0 none.  shift: seconds the
    lower face comes later (negative: earlier).  add: named expression directions and how much of each, such as
    ``{"jawOpen": 0.1}``."""

    lower_gain: float = 1.0
    upper_gain: float = 1.0
    smoothing: float = 0.0
    shift: float = 0.0
    add: Mapping[str, float] = field(default_factory=dict)

    def verify(self, face_model: FaceModel) -> GeometryEdit:
        """Return self, or raise OptionsError with one sentence about the first value out of range."""
        for name in ("lower_gain", "upper_gain"):
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise OptionsError(f"{name} is {getattr(self, name)} but expected 0 (still) to 2 (twice as far).")
        if not 0.0 <= self.smoothing <= 1.0:
            raise OptionsError(f"smoothing is {self.smoothing} s but expected 0 to 1.")
        if abs(self.shift) > MAX_SHIFT:
            raise OptionsError(f"shift is {self.shift} s but expected -{MAX_SHIFT:g} to {MAX_SHIFT:g}.")
        unknown = sorted(set(self.add) - set(face_model.direction_names))
        if unknown:
            raise OptionsError(f"the face model has no direction '{unknown[0]}'; it has {', '.join(face_model.direction_names)}.")
        return self


def edit_geometry(geometry: FaceGeometry, face_model: FaceModel, edit: GeometryEdit) -> FaceGeometry:
    """A changed copy; pose, identity, timing and the source's own geometry stay.

    Shots are edited apart: nothing is smoothed or moved across a cut.
    Raises:
        OptionsError: a value out of range or an unknown direction.
        ShapeError: the expression's width is not the face model's.
    """
    edit.verify(face_model)
    check_shape("expression", geometry.expression, "T", face_model.expression_count)
    expression = geometry.expression.clone()
    lower, upper = slice(0, face_model.lower_count), slice(face_model.lower_count, None)
    for shot in geometry.shot.unique():
        rows = (geometry.shot == shot).nonzero()[:, 0]
        step = float(geometry.durations[rows].median())
        values = expression[rows]
        values[:, lower] = _gain(_smooth(_shift(values[:, lower], edit.shift / step), edit.smoothing / step), edit.lower_gain)
        values[:, upper] = _gain(values[:, upper], edit.upper_gain)
        expression[rows] = values
    for name, amount in edit.add.items():
        expression = expression + amount * face_model.directions[face_model.direction_names.index(name)].to(expression)
    return replace(geometry, expression=expression)


def _gain(values: Tensor, gain: float) -> Tensor:
    if gain == 1.0 or values.shape[1] == 0:
        return values
    middle = values.median(dim=0).values
    return middle + gain * (values - middle)


def _shift(values: Tensor, frames: float) -> Tensor:
    """Values ``frames`` later, by linear interpolation; the ends repeat."""
    if frames == 0.0:
        return values
    at = (torch.arange(len(values), dtype=torch.float64) - frames).clamp(0, len(values) - 1)
    before = at.floor().long()
    weight = (at - before).to(values)[:, None]
    return torch.lerp(values[before], values[(before + 1).clamp(max=len(values) - 1)], weight)


def _smooth(values: Tensor, width: float) -> Tensor:
    if width <= 0.0:
        return values
    return torch.from_numpy(gaussian_filter1d(values.double().numpy(), width, axis=0, mode="nearest")).to(values)
