"""A style is of the lower face over time; strength, mixtures and distances of styles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import FaceError, FaceModelMismatchError, ShapeError
from personatalk_core.speech.style import extract_style, mix_styles, style_distance, style_vector


def test_pose_identity_and_upper_face_are_no_style(networks, face_model, moving_face):
    clip = moving_face()
    other = replace(
        clip, identity=clip.identity * -2, rotation=clip.rotation * 3, expression=clip.expression.clone()
    )
    other.expression[:, face_model.lower_count :] += 2
    a, b = (extract_style(c, networks, face_model, name="x") for c in (clip, other))
    assert torch.allclose(a.vector, b.vector)
    assert a.source == clip.source and a.network == networks.sha256


def test_bad_frames_do_not_count(networks, face_model, moving_face):
    clip = moving_face()
    broken = replace(clip, expression=clip.expression.clone(), status=clip.status.clone())
    broken.expression[50:] += 9
    broken.status[50:] = 1
    short = clip[:50]
    vectors = [extract_style(c, networks, face_model, name="").vector for c in (broken, short)]
    assert torch.allclose(*vectors)


def test_too_few_frames_are_refused(networks, face_model, moving_face):
    with pytest.raises(FaceError, match="at least 12"):
        extract_style(moving_face(frames=8), networks, face_model, name="")


def test_other_face_model_is_refused(networks, face_model, moving_face):
    with pytest.raises(FaceModelMismatchError):
        extract_style(replace(moving_face(), face_model="other"), networks, face_model, name="")
    with pytest.raises(FaceModelMismatchError):
        extract_style(moving_face(), networks, replace(face_model, sha256="other"), name="")


def test_strength_goes_from_the_average_through_the_person(networks, face_model, moving_face):
    networks.lip_sync.style.average.normal_()
    style = extract_style(moving_face(), networks, face_model, name="")
    average = networks.lip_sync.style.average
    assert torch.equal(style_vector(style, networks, 0.0), average)
    assert torch.allclose(style_vector(style, networks, 1.0), style.vector, atol=1e-6)
    assert torch.allclose(
        style_vector(style, networks, 2.0) - style.vector, style.vector - average, atol=1e-5
    )
    assert torch.equal(style_vector(None, networks), average)
    with pytest.raises(ShapeError, match="strength"):
        style_vector(style, networks, 2.5)


def test_a_mixture_lies_between(networks, face_model, moving_face):
    a, b = (extract_style(moving_face(seed=s), networks, face_model, name=str(s)) for s in (0, 1))
    mixed = mix_styles([a, b], [1, 3])
    assert torch.allclose(mixed.vector, 0.25 * a.vector + 0.75 * b.vector)
    assert style_distance(a, mixed) + style_distance(mixed, b) == pytest.approx(
        style_distance(a, b), rel=1e-4
    )
    with pytest.raises(ShapeError, match="weight"):
        mix_styles([a, b], [1])
    with pytest.raises(FaceModelMismatchError):
        mix_styles([a, replace(b, network="other")], [1, 1])
    with pytest.raises(FaceModelMismatchError):
        style_distance(a, replace(b, network="other"))
