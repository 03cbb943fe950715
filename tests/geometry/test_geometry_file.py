"""Geometry files give back what was saved and refuse what does not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, WeightsError
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.geometry_file import TENSORS, load_geometry, save_geometry
from personatalk_core.types import FaceGeometry
from personatalk_core.weights.checkpoint import save_checkpoint


@pytest.fixture
def geometry() -> FaceGeometry:
    model = load_face_model()
    t = 7
    generator = torch.Generator().manual_seed(1)
    return FaceGeometry(
        identity=torch.randn(model.identity_count, generator=generator),
        expression=torch.randn(t, model.expression_count, generator=generator),
        rotation=torch.randn(t, 3, generator=generator),
        translation=torch.randn(t, 2, generator=generator),
        scale=torch.rand(t, generator=generator) + 50,
        status=torch.tensor([0, 0, 1, 0, 3, 0, 0], dtype=torch.uint8),
        shot=torch.zeros(t, dtype=torch.int64),
        source_frame=torch.arange(t),
        times=torch.arange(t, dtype=torch.float64) * (1001 / 30000),
        durations=torch.full((t,), 1001 / 30000, dtype=torch.float64),
        frame_size=(480, 640),
        face_model=model.sha256,
        source="ab" * 32,
        audio=("line.wav", "cd" * 32),
    )


def same(a: FaceGeometry, b: FaceGeometry) -> bool:
    plain = all(getattr(a, n) == getattr(b, n) for n in ("frame_size", "face_model", "source", "audio"))
    return plain and all(torch.equal(getattr(a, n), getattr(b, n)) for n in TENSORS)


def test_a_saved_geometry_comes_back_exactly(geometry, tmp_path):
    save_geometry(tmp_path / "g.safetensors", geometry)
    again = load_geometry(tmp_path / "g.safetensors", load_face_model())
    assert same(again, geometry) and again.reference is None


def test_the_source_geometry_travels_along(geometry, tmp_path):
    source = replace(geometry, expression=geometry.expression * 2, audio=("", ""))
    save_geometry(tmp_path / "g.safetensors", replace(geometry, reference=source))
    again = load_geometry(tmp_path / "g.safetensors")
    assert same(again, geometry) and same(again.reference, source)


def test_another_face_model_is_refused(geometry, tmp_path):
    save_geometry(tmp_path / "g.safetensors", replace(geometry, face_model="0" * 64))
    with pytest.raises(FaceModelMismatchError, match="estimate the geometry again"):
        load_geometry(tmp_path / "g.safetensors", load_face_model())


def test_missing_fields_and_unequal_lengths_are_refused(geometry, tmp_path):
    tensors = {name: getattr(geometry, name) for name in TENSORS}
    config = {"frame_size": [480, 640], "face_model": "x", "source": "", "audio": ["", ""]}
    save_checkpoint(
        tmp_path / "a.safetensors",
        {n: t for n, t in tensors.items() if n != "scale"},
        kind="geometry",
        config=config,
    )
    with pytest.raises(WeightsError, match="lacks scale"):
        load_geometry(tmp_path / "a.safetensors")
    save_checkpoint(
        tmp_path / "b.safetensors", tensors | {"scale": torch.ones(3)}, kind="geometry", config=config
    )
    with pytest.raises(WeightsError, match="do not fit together"):
        load_geometry(tmp_path / "b.safetensors")
