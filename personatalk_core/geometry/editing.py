"""Changing generated geometry before it is rendered: how far the mouth moves, how smooth and how early, which
expression is added; and when it is shown: another rate or speed, a frozen frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ..checks import check_finite, check_shape
from ..errors import OptionsError, ShapeError
from ..types import FaceGeometry, as_tensor
from .face_model import FaceModel

MAX_SHIFT = 2.0  # seconds the mouth may be moved against the sound


@dataclass(frozen=True)
class GeometryEdit:
    """lower_gain: 0 keeps the clip's median mouth still, 1 as it is, up to 2 exaggerates.  upper_gain: the
    same for brows, cheeks and lids.  smoothing: seconds, standard deviation of a Gaussian over the lower
    face, 0 none.  shift: seconds the lower face comes later (negative: earlier).  add: named expression
    directions and how much of each, such as ``{"jawOpen": 0.1}``."""

    lower_gain: float = 1.0
    upper_gain: float = 1.0
    smoothing: float = 0.0
    shift: float = 0.0
    add: Mapping[str, float] = field(default_factory=dict)

    def verify(self, face_model: FaceModel) -> GeometryEdit:
        """Return self, or raise OptionsError with one sentence about the first value out of range."""
        for name in ("lower_gain", "upper_gain"):
            if not 0.0 <= getattr(self, name) <= 2.0:
                raise OptionsError(
                    f"{name} is {getattr(self, name)} but expected 0 (still) to 2 (twice as far)."
                )
        if not 0.0 <= self.smoothing <= 1.0:
            raise OptionsError(f"smoothing is {self.smoothing} s but expected 0 to 1.")
        if abs(self.shift) > MAX_SHIFT:
            raise OptionsError(f"shift is {self.shift} s but expected -{MAX_SHIFT:g} to {MAX_SHIFT:g}.")
        unknown = sorted(set(self.add) - set(face_model.direction_names))
        if unknown:
            raise OptionsError(
                f"the face model has no direction '{unknown[0]}'; it has "
                f"{', '.join(face_model.direction_names)}."
            )
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
        values[:, lower] = _gain(
            _smooth(_shift(values[:, lower], edit.shift / step), edit.smoothing / step), edit.lower_gain
        )
        values[:, upper] = _gain(values[:, upper], edit.upper_gain)
        expression[rows] = values
    for name, amount in edit.add.items():
        expression = expression + amount * face_model.directions[face_model.direction_names.index(name)].to(
            expression
        )
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
    return torch.from_numpy(gaussian_filter1d(values.double().numpy(), width, axis=0, mode="nearest")).to(
        values
    )


def retime_geometry(geometry: FaceGeometry, times: Sequence[float] | Tensor) -> FaceGeometry:
    """The same face at other moments: another frame rate, slower, faster or backwards.

    Coefficients are interpolated linearly between the two frames around each moment, never across a cut;
    status, shot and source frame are those of the nearest frame. Before the first and after the last frame
    the ends are held.
    Args:
        times: (T2,) seconds on the geometry's clock, in any order.
    Returns:
        FaceGeometry of T2 frames whose own clock starts at 0 and runs in the order given.
    Raises:
        ShapeError: no times, or non-finite ones.
    """
    moments = as_tensor(
        times if isinstance(times, Tensor) else torch.tensor(list(times), dtype=torch.float64), torch.float64
    )
    check_shape("times", moments, "T")
    check_finite("times", moments)
    if len(moments) == 0:
        raise ShapeError("times has no entries but expected at least one moment.")
    clock = geometry.times.double()
    last = len(clock) - 1
    early = (torch.searchsorted(clock, moments, right=True) - 1).clamp(0, last)
    late = (early + 1).clamp(max=last)
    span = (clock[late] - clock[early]).clamp_min(1e-9)
    weight = ((moments - clock[early]) / span).clamp(0, 1)
    nearest = torch.where(weight < 0.5, early, late)
    cut = geometry.shot[early] != geometry.shot[late]
    weight = torch.where(cut, (nearest == late).double(), weight)

    def between(values: Tensor) -> Tensor:
        share = weight.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        return torch.lerp(values[early], values[late], share)

    mixed = {
        name: between(getattr(geometry, name)) for name in ("expression", "rotation", "translation", "scale")
    }
    steps = moments.diff().abs() if len(moments) > 1 else geometry.durations[:1].double()
    durations = torch.cat([steps, steps[-1:]])[: len(moments)].clamp_min(1e-6)
    times = torch.cat([durations.new_zeros(1), durations[:-1].cumsum(0)])
    clocks = {"times": times.to(geometry.times.dtype), "durations": durations.to(geometry.durations.dtype)}
    return replace(geometry[nearest], **mixed, **clocks, reference=geometry.reference)


def geometry_at_speed(geometry: FaceGeometry, speed: float) -> FaceGeometry:
    """The same face faster or slower, at the frame rate it had: picture and mouth together, without the
    sound.

    Args:
        speed: 2 is twice as fast, 0.5 half as fast; 1 returns the geometry itself.
    Returns:
        FaceGeometry of about T / speed frames. It names no sound, since none fits it any more; it samples the
        pixels of the clip it was made from.
    Raises:
        OptionsError: a speed outside 0.1 to 10.
    """
    if not 0.1 <= speed <= 10.0:
        raise OptionsError(f"speed is {speed} but expected 0.1 (ten times slower) to 10 (ten times faster).")
    if speed == 1.0:
        return geometry
    step = float(geometry.durations.double().median())
    duration = float(
        geometry.times[-1].double() + geometry.durations[-1].double() - geometry.times[0].double()
    )
    count = max(1, round(duration / speed / step))
    moments = geometry.times[0].double() + torch.arange(count, dtype=torch.float64) * step * speed
    played = retime_geometry(geometry, moments)
    clock = {"times": played.times / speed, "durations": torch.full_like(played.durations, step)}
    return replace(played, **clock, audio=("", ""), reference=geometry.reference or geometry)


def freeze_geometry(
    geometry: FaceGeometry, face_model: FaceModel, frame: int, *, part: str = "lower"
) -> FaceGeometry:
    """Hold a part of the face as it is in one frame.

    Args:
        frame: which, from 0.
        part:  ``lower`` (mouth and jaw), ``upper`` (the rest of the expression), ``expression`` (both) or
            ``pose``.
    Raises:
        OptionsError: no such frame or part.
    """
    if not 0 <= frame < geometry.frame_count:
        raise OptionsError(f"frame is {frame} but expected 0 to {geometry.frame_count - 1}.")
    count = face_model.lower_count
    columns = {"lower": slice(0, count), "upper": slice(count, None), "expression": slice(0, None)}
    if part in columns:
        expression = geometry.expression.clone()
        expression[:, columns[part]] = expression[frame, columns[part]].clone()
        return replace(geometry, expression=expression)
    if part == "pose":
        held = {
            name: getattr(geometry, name)[frame : frame + 1] for name in ("rotation", "translation", "scale")
        }
        return replace(
            geometry,
            **{
                name: value.expand(geometry.frame_count, *value.shape[1:]).clone()
                for name, value in held.items()
            },
        )
    raise OptionsError(f"part is '{part}' but expected lower, upper, expression or pose.")
