"""What travels between the stages is frozen and checked at birth."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.types import (
    FRAME_FIELDS,
    AudioClip,
    CropBoxes,
    DubReport,
    FaceGeometry,
    FaceTrack,
    FrameStatus,
    Pncc,
    ReferenceSelection,
    StyleEmbedding,
    Timeline,
    VideoInfo,
    as_tensor,
)

T, E, A, H, W = 4, 6, 5, 8, 10


def fields_of(kind) -> dict:
    frames = np.arange(T)
    times, shown = frames / 25.0, np.full(T, 0.04)
    return {
        AudioClip: {"samples": np.zeros((2, 1600), np.float32), "sample_rate": 16_000},
        VideoInfo: {
            "path": Path("a.mp4"),
            "width": W,
            "height": H,
            "times": times,
            "durations": shown,
            "rate": Fraction(25),
            "constant_rate": True,
            "has_audio": False,
            "sha256": "",
        },
        Timeline: {"source_frame": frames, "times": times, "durations": shown},
        FaceTrack: {
            "landmarks": np.zeros((T, 478, 3), np.float32),
            "blendshapes": np.zeros((T, 52), np.float32),
            "status": np.zeros(T, np.uint8),
            "shot": frames * 0,
            "times": times,
            "frame_size": (H, W),
        },
        FaceGeometry: {
            "identity": torch.zeros(A),
            "expression": torch.zeros(T, E),
            "rotation": torch.zeros(T, 3),
            "translation": torch.zeros(T, 2),
            "scale": torch.ones(T),
            "status": torch.tensor([0, 0, 1, 2], dtype=torch.uint8),
            "shot": torch.zeros(T),
            "source_frame": torch.arange(T),
            "times": torch.arange(T) / 25,
            "durations": torch.ones(T),
            "frame_size": (H, W),
            "face_model": "f",
        },
        Pncc: {
            "map": torch.zeros(T, 3, H, W),
            "triangle": torch.zeros(T, H, W),
            "barycentric": torch.zeros(T, 3, H, W),
            "depth": torch.zeros(T, H, W),
        },
        StyleEmbedding: {"vector": torch.zeros(8), "name": "n", "face_model": "f", "network": "n"},
        CropBoxes: {"box": torch.zeros(T, 3)},
        ReferenceSelection: {"lip": torch.arange(3), "face": torch.zeros(T, 5)},
    }[kind]


KINDS = (
    AudioClip,
    VideoInfo,
    Timeline,
    FaceTrack,
    FaceGeometry,
    Pncc,
    StyleEmbedding,
    CropBoxes,
    ReferenceSelection,
)


def make(kind, **changes):
    return kind(**{**fields_of(kind), **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_made_frozen_and_compared_by_identity(kind):
    value = make(kind)
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)
    assert value != make(kind)  # arrays have no single truth, so equality is identity


ARRAYS = [
    (kind, name)
    for kind in KINDS
    for name, value in fields_of(kind).items()
    if isinstance(value, (np.ndarray, torch.Tensor))
]


@pytest.mark.parametrize(("kind", "name"), ARRAYS, ids=lambda value: getattr(value, "__name__", value))
def test_an_axis_too_many_is_refused(kind, name):
    with pytest.raises(ShapeError, match="has shape"):
        make(kind, **{name: fields_of(kind)[name][None]})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (k, n)
        for k, n in ARRAYS
        if k in (VideoInfo, Timeline, FaceTrack, FaceGeometry, Pncc) and n != "identity"
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_another_number_of_frames_is_refused(kind, name):
    with pytest.raises(ShapeError, match="has shape"):
        make(kind, **{name: fields_of(kind)[name][:-1]})


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FaceTrack, "landmarks"),
        (StyleEmbedding, "vector"),
        *((FaceGeometry, n) for n in ("identity", "expression", "rotation", "translation", "scale")),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_non_finite_values_are_refused(kind, name):
    array = as_tensor(fields_of(kind)[name])
    array.view(-1)[-1] = float("nan")
    with pytest.raises(ShapeError, match=f"{name}.* has 1 non-finite"):
        make(kind, **{name: array})


def test_durations():
    assert make(AudioClip).duration == 0.1
    for kind in (VideoInfo, Timeline):
        assert make(kind).frame_count == T
        assert make(kind).duration == pytest.approx(0.16)
    assert make(FaceTrack).frame_count == make(FaceGeometry).frame_count == T


def test_variable_frame_rate_lasts_to_the_end_of_the_last_frame():
    info = make(
        VideoInfo,
        times=np.array([0.0, 0.1, 0.15, 0.4]),
        durations=np.array([0.1, 0.05, 0.25, 0.5]),
        constant_rate=False,
    )
    assert info.duration == pytest.approx(0.9)


def test_sample_rate_must_be_positive():
    with pytest.raises(ShapeError, match="sample rate is 0"):
        make(AudioClip, sample_rate=0)


def test_frame_times_must_rise():
    with pytest.raises(ShapeError, match="at frame 2 but expected strictly rising"):
        make(VideoInfo, times=np.array([0.0, 0.04, 0.04, 0.08]))
    with pytest.raises(ShapeError, match="frame times is empty"):
        make(VideoInfo, times=np.zeros(0), durations=np.zeros(0))


def test_usable_frames_are_the_ok_ones():
    assert make(FaceGeometry).usable.tolist() == [True, True, False, False]
    assert FrameStatus(2) is FrameStatus.SIDE


NUMBERED = {
    "expression": torch.arange(T * E).reshape(T, E).float(),
    "times": torch.arange(T) / 25,
    "source_frame": torch.arange(T),
}


@pytest.mark.parametrize(
    ("frames", "rows"),
    [
        ([3, 0, 3], [3, 0, 3]),
        (range(3), [0, 1, 2]),
        (torch.tensor([-1, 2]), [3, 2]),
        (slice(1, 3), [1, 2]),
    ],
    ids=["list", "range", "tensor", "slice"],
)
def test_frames_of_a_geometry_are_chosen_in_order(frames, rows):
    clip = make(FaceGeometry, **NUMBERED, reference=make(FaceGeometry))
    chosen = clip[frames]
    for name in FRAME_FIELDS:
        assert torch.equal(getattr(chosen, name), getattr(clip, name)[rows]), name
    assert chosen.identity is clip.identity
    assert chosen.reference is None


def test_every_field_of_a_geometry_with_a_row_a_frame_is_listed_once():
    rows = {name for name, value in fields_of(FaceGeometry).items() if getattr(value, "shape", "A")[0] == T}
    assert set(FRAME_FIELDS) == rows


def test_a_frame_that_a_geometry_does_not_have_is_refused():
    with pytest.raises(IndexError):
        make(FaceGeometry)[[T]]


def test_reports_share_nothing():
    first, second = DubReport(), DubReport()
    first.warnings.append("one")
    first.metrics["psnr"] = 1.0
    assert (second.warnings, second.metrics) == ([], {})


GRID = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    "array",
    [GRID[::-1, ::-1], GRID.T, torch.arange(6), np.float32(3.0)],
    ids=["backwards", "turned", "torch", "one"],
)
def test_as_tensor_copies(array):
    tensor = as_tensor(array)
    assert tensor.dtype == torch.float32
    assert np.array_equal(tensor.numpy(), np.asarray(array))
    tensor += 1
    assert not np.array_equal(tensor.numpy(), np.asarray(array))
