from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import FaceError, FaceModelMismatchError, WeightsError
from personatalk_core.evaluation.metrics.style_similarity import (
    WINDOW,
    StyleMetric,
    StyleMetricConfig,
    load_style_metric,
    motion_windows,
    save_style_metric,
    style_of_motion,
    style_similarity,
)
from personatalk_core.evaluation.speed.synthetic_clip import synthetic_geometry


@pytest.fixture
def metric(face_model):
    torch.manual_seed(0)
    return StyleMetric(StyleMetricConfig(face_model.lower_count, face_model.sha256)).eval()


def test_styles_are_unit_vectors_and_a_clip_is_like_itself(metric, face_model):
    geometry = synthetic_geometry(face_model, 80, seed=1)
    lower = geometry.expression[:, : face_model.lower_count]
    assert float(style_of_motion(lower, geometry.usable, metric).norm()) == pytest.approx(1.0, abs=1e-5)
    assert style_similarity(geometry, geometry, face_model, metric) == pytest.approx(1.0, abs=1e-5)
    other = replace(geometry, expression=2.0 - geometry.expression)
    assert style_similarity(geometry, other, face_model, metric) < 0.999


def test_windows_never_span_a_frame_without_a_face():
    expression = torch.arange(130.0)[:, None]
    usable = torch.ones(130, dtype=torch.bool)
    usable[60] = False
    windows = motion_windows(expression, usable, hop=5)
    assert len(windows) == 3 + 4 and all(
        len(w) == WINDOW and float(w[-1] - w[0]) == WINDOW - 1 for w in windows
    )
    assert not any((w == 60).any() for w in windows)


def test_a_short_clip_gives_one_window_and_a_very_short_one_is_refused(metric, face_model):
    lower = torch.zeros(30, face_model.lower_count)
    usable = torch.ones(30, dtype=torch.bool)
    assert [len(w) for w in motion_windows(lower, usable)] == [30]
    with pytest.raises(FaceError, match="consecutive"):
        style_of_motion(lower[:20], usable[:20], metric)


def test_another_face_model_is_refused(metric, face_model):
    geometry = synthetic_geometry(face_model, 60)
    with pytest.raises(FaceModelMismatchError):
        style_similarity(replace(geometry, face_model="0" * 64), geometry, face_model, metric)


def test_weights_come_back_the_same(metric, face_model, tmp_path):
    save_style_metric(tmp_path / "style_metric.safetensors", metric, "a card")
    again = load_style_metric(tmp_path / "style_metric.safetensors")
    x = torch.randn(2, WINDOW, face_model.lower_count)
    assert torch.allclose(again(x), metric(x), atol=1e-5)
    with pytest.raises(WeightsError, match="does not exist"):
        load_style_metric(tmp_path / "nothing.safetensors")
