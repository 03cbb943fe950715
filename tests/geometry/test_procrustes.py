"""Similarity alignment gives back a known similarity, and ignores what weighs nothing."""

import torch

from personatalk_core.geometry.camera import align_similarity, rotation_matrix


def test_a_known_similarity_comes_back():
    generator = torch.Generator().manual_seed(1)
    source = torch.randn(5, 30, 3, generator=generator)
    rotation = rotation_matrix(torch.randn(5, 3, generator=generator))
    scale, shift = torch.rand(5, generator=generator) + 0.5, torch.randn(5, 3, generator=generator) * 9
    target = torch.einsum("tij,tkj->tki", rotation * scale[:, None, None], source) + shift[:, None]
    target[:, 20:] += torch.randn(5, 10, 3, generator=generator)
    weight = torch.cat([torch.ones(20), torch.zeros(10)])
    found = align_similarity(source, target, weight)
    for value, truth in zip(found, (rotation, scale, shift), strict=True):
        torch.testing.assert_close(value, truth, atol=1e-4, rtol=1e-4)


def test_never_a_reflection():
    source = torch.randn(1, 20, 3, generator=torch.Generator().manual_seed(2))
    rotation, _, _ = align_similarity(source, source * torch.tensor([-1.0, 1, 1]), torch.ones(20))
    assert float(torch.linalg.det(rotation[0])) > 0.99
