"""Geometry at other times, and geometry held still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..checks import check_finite, check_shape
from ..errors import OptionsError, ShapeError
from ..types import FaceGeometry, as_tensor
from .face_model import FaceModel


def retime_geometry(geometry: FaceGeometry, times: Sequence[float] | Tensor) -> FaceGeometry:
    """The same face at other moments: another frame rate, slower, faster or backwards.

    Coefficients are interpolated linearly between the two frames around each moment, never across a cut; status, shot and
    source frame are those of the nearest frame. Before the first and after the last frame the ends are held.
    Args:
        times: (T2,) seconds on the geometry's clock, in any order.
    Returns:
        FaceGeometry of T2 frames whose own clock starts at 0 and runs in the order given.
    Raises:
        ShapeError: no times, or non-finite ones.
    """
    at = as_tensor(times if isinstance(times, Tensor) else torch.tensor(list(times), dtype=torch.float64), torch.float64)
    check_shape("times", at, "T")
    check_finite("times", at)
    if len(at) == 0:
        raise ShapeError("times has no entries but expected at least one moment.")
    own = geometry.times.double()
    last = len(own) - 1
    early = (torch.searchsorted(own, at, right=True) - 1).clamp(0, last)
    late = (early + 1).clamp(max=last)
    span = (own[late] - own[early]).clamp_min(1e-9)
    weight = ((at - own[early]) / span).clamp(0, 1)
    nearest = torch.where(weight < 0.5, early, late)
    cut = geometry.shot[early] != geometry.shot[late]
    weight = torch.where(cut, (nearest == late).double(), weight)

    def between(values: Tensor) -> Tensor:
        share = weight.to(values.dtype).reshape(-1, *[1] * (values.ndim - 1))
        return torch.lerp(values[early], values[late], share)

    mixed = {name: between(getattr(geometry, name)) for name in ("expression", "rotation", "translation", "scale")}
    picked = {name: getattr(geometry, name)[nearest] for name in ("status", "shot", "source_frame")}
    steps = at.diff().abs() if len(at) > 1 else geometry.durations[:1].double()
    durations = torch.cat([steps, steps[-1:]])[: len(at)].clamp_min(1e-6)
    clock = torch.cat([durations.new_zeros(1), durations[:-1].cumsum(0)])
    clocks = {"times": clock.to(geometry.times.dtype), "durations": durations.to(geometry.durations.dtype)}
    return replace(geometry, **mixed, **picked, **clocks)


def geometry_at_speed(geometry: FaceGeometry, speed: float) -> FaceGeometry:
    """The same face faster or slower, at the frame rate it had: picture and mouth together, without the sound.

    Args:
        speed: 2 is twice as fast, 0.5 half as fast; 1 returns the geometry itself.
    Returns:
        FaceGeometry of about T / speed frames. It names no sound, since none fits it any more; it samples the pixels of the clip
        it was made from.
    Raises:
        OptionsError: a speed outside 0.1 to 10.
    """
    if not 0.1 <= speed <= 10.0:
        raise OptionsError(f"speed is {speed} but expected 0.1 (ten times slower) to 10 (ten times faster).")
    if speed == 1.0:
        return geometry
    step = float(geometry.durations.double().median())
    duration = float(geometry.times[-1].double() + geometry.durations[-1].double() - geometry.times[0].double())
    count = max(1, round(duration / speed / step))
    at = geometry.times[0].double() + torch.arange(count, dtype=torch.float64) * step * speed
    played = retime_geometry(geometry, at)
    clock = {"times": played.times / speed, "durations": torch.full_like(played.durations, step)}
    return replace(played, **clock, audio=("", ""), reference=geometry.reference or geometry)


def freeze_geometry(geometry: FaceGeometry, face_model: FaceModel, frame: int, *, part: str = "lower") -> FaceGeometry:
    """Hold a part of the face as it is in one frame.

    Args:
        frame: which, from 0.
        part:  ``lower`` (mouth and jaw), ``upper`` (the rest of the expression), ``expression`` (both) or ``pose``.
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
        held = {name: getattr(geometry, name)[frame : frame + 1] for name in ("rotation", "translation", "scale")}
        return replace(geometry, **{name: value.expand(geometry.frame_count, *value.shape[1:]).clone() for name, value in held.items()})
    raise OptionsError(f"part is '{part}' but expected lower, upper, expression or pose.")
