"""Speech of any length on frames of any rate: no seams, nothing but the lower face, one sentence each for
what does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.errors import FaceModelMismatchError, ShapeError
from personatalk_core.speech.lip_sync import (
    SpeechWindows,
    generate_geometry,
    predict_expression,
    template_offsets,
)
from personatalk_core.speech.style import extract_style, style_vector
from personatalk_core.types import Timeline


def timeline(frames: int, fps: float, source_frames: int) -> Timeline:
    index = np.minimum(np.arange(frames), source_frames - 1)
    return Timeline(index.astype(np.int64), np.arange(frames) / fps, np.full(frames, 1 / fps))


def predict(networks, samples, frames, **windows):
    width, vertices = networks.lip_sync.config.width, networks.lip_sync.config.vertices
    style, template = torch.zeros(width), torch.zeros(vertices, 3)
    return predict_expression(samples, frames, style, template, networks, SpeechWindows(**windows))


@pytest.fixture
def average(networks):
    return style_vector(None, networks)


@pytest.mark.parametrize("inner_frames", [7, 40, 64])
def test_no_seam_between_windows(networks, inner_frames):
    samples = torch.randn(100 * 640) * 0.1
    whole = predict(networks, samples, 100)
    assert float(whole.std(0).mean()) > 1e-3  # it does move
    assert torch.allclose(whole, predict(networks, samples, 100, inner_frames=inner_frames), atol=1e-4)


def test_later_sound_gives_the_same_motion_later(networks):
    samples = torch.randn(40 * 640) * 0.1
    delay = 6  # frames; a multiple of three frames is a whole number of the encoder's hops
    late = torch.cat((torch.zeros(delay * 640), samples))
    statistics = networks.audio_encoder.backbone.takes_statistics
    networks.audio_encoder.backbone.takes_statistics = False
    try:
        networks.audio_encoder.backbone.groupnorm.forward = lambda x, s=None: x * 10
        early, later = predict(networks, samples, 40), predict(networks, late, 46)
    finally:
        networks.audio_encoder.backbone.takes_statistics = statistics
    assert torch.allclose(early, later[delay:], atol=1e-4)
    assert not torch.allclose(early, later[: len(early)], atol=1e-2)


def test_sound_shorter_or_longer_than_asked_for(networks):
    assert predict(networks, torch.randn(100), 30).shape[0] == 30
    assert torch.isfinite(predict(networks, torch.randn(64_000), 10)).all()


def test_only_the_lower_face_is_generated(networks, average, face_model, moving_face):
    source = moving_face(frames=50)
    samples = np.random.default_rng(0).normal(0, 0.1, 32_000).astype(np.float32)
    out = generate_geometry(source, samples, average, networks, face_model, timeline(50, 25, 50))
    low = face_model.lower_count
    assert torch.equal(out.expression[:, low:], source.expression[:, low:])
    assert not torch.allclose(out.expression[:, :low], source.expression[:, :low], atol=0.01)
    assert torch.equal(out.rotation, source.rotation)
    assert out.identity is source.identity or torch.equal(out.identity, source.identity)


@pytest.mark.parametrize("fps", [23.976, 30.0, 50.0])
def test_any_frame_rate_has_its_own_frames(networks, average, face_model, moving_face, fps):
    source = moving_face(frames=40, fps=fps)
    line = timeline(70, fps, 40)
    out = generate_geometry(source, torch.randn(60_000) * 0.1, average, networks, face_model, line)
    assert out.frame_count == 70
    assert out.source_frame.tolist() == line.source_frame.tolist()
    assert np.allclose(out.times.numpy(), line.times)
    at25 = generate_geometry(
        source,
        torch.randn(60_000) * 0.1,
        average,
        networks,
        face_model,
        timeline(70, 25, 40),
    )
    assert at25.expression.shape == out.expression.shape


def test_style_and_strength_change_the_motion(networks, face_model, moving_face):
    source = moving_face()
    samples = torch.randn(38_400) * 0.1
    style = extract_style(moving_face(seed=5, scale=3.0), networks, face_model, name="")
    line = timeline(60, 25, 60)

    def lower(style, strength):
        out = generate_geometry(
            source, samples, style_vector(style, networks, strength), networks, face_model, line
        )
        return out.expression[:, : face_model.lower_count]

    assert torch.allclose(lower(None, 1.0), lower(style, 0.0), atol=1e-5)
    assert not torch.allclose(lower(style, 1.0), lower(style, 0.0), atol=1e-2)


def test_refusals(networks, average, face_model, moving_face):
    source, samples = moving_face(), torch.randn(16_000)
    line = timeline(20, 25, 20)
    with pytest.raises(ShapeError, match="outside 0 to"):
        generate_geometry(source, samples, average, networks, face_model, timeline(80, 25, 80))
    with pytest.raises(ShapeError, match="no samples"):
        generate_geometry(source, samples[:0], average, networks, face_model, line)
    with pytest.raises(ShapeError, match="speech samples"):
        generate_geometry(source, samples[None], average, networks, face_model, line)
    with pytest.raises(FaceModelMismatchError):
        generate_geometry(
            replace(source, face_model="other"),
            samples,
            average,
            networks,
            face_model,
            line,
        )
    style = replace(extract_style(source, networks, face_model, name=""), network="other")
    with pytest.raises(FaceModelMismatchError):
        generate_geometry(source, samples, style_vector(style, networks), networks, face_model, line)


def test_progress_ends_at_all_frames(networks):
    seen = []
    predict(
        networks,
        torch.randn(64_000) * 0.1,
        100,
        inner_frames=30,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == [(30, 100), (60, 100), (90, 100), (100, 100)]


def test_template_is_the_identity_alone(face_model):
    assert float(template_offsets(torch.zeros(face_model.identity_count), face_model).abs().max()) == 0.0
    one = torch.zeros(face_model.identity_count)
    one[2] = 1.5
    assert torch.allclose(
        template_offsets(one, face_model), 1.5 * face_model.identity_basis[2, face_model.lower_vertices]
    )
