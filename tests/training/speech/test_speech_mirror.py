from dataclasses import replace

import torch

from personatalk_core.geometry.vertices import mouth_opening, mouth_width, shape_vertices
from personatalk_core.training.speech.augmentation import face_mirror


def test_mirrored_coefficients_are_the_mirrored_face(face_model):
    mirror = face_mirror(face_model)
    generator = torch.Generator().manual_seed(0)
    expression = torch.zeros(5, face_model.expression_count)
    expression[:, : face_model.lower_count] = torch.randn(5, face_model.lower_count, generator=generator)
    identity = torch.randn(face_model.identity_count, generator=generator)
    seen = expression.clone()
    seen[:, : face_model.lower_count] = expression[:, : face_model.lower_count] @ mirror.expression
    own, other = (
        shape_vertices(identity, expression, face_model),
        shape_vertices(identity @ mirror.identity, seen, face_model),
    )
    reflected = own * torch.tensor([-1.0, 1.0, 1.0])
    exact = "donot_use_mm_for_euclid_dist"
    # the same points, whatever their order
    nearest = torch.cdist(other, reflected, compute_mode=exact).amin(-1)
    assert float(nearest.max()) < 1e-4 < float(torch.cdist(own, reflected).amin(-1).max())
    assert torch.allclose(mouth_opening(own, face_model), mouth_opening(other, face_model), atol=1e-4)
    assert torch.allclose(mouth_width(own, face_model), mouth_width(other, face_model), atol=1e-4)


def test_twice_mirrored_is_what_it_was(face_model):
    mirror = face_mirror(face_model)
    for matrix in (mirror.expression, mirror.identity):
        assert torch.allclose(matrix @ matrix, torch.eye(len(matrix)), atol=1e-5)


def test_a_crooked_face_model_has_no_mirror(face_model):
    assert (
        face_mirror(
            replace(face_model, mean=face_model.mean + 0.1 * torch.arange(len(face_model.mean))[:, None])
        )
        is None
    )
