import pytest
import torch

from personatalk_core.geometry.vertices import mouth_opening, mouth_width, shape_vertices
from personatalk_core.training.speech.losses import MouthMeasure, SpeechLosses, SpeechLossWeights


@pytest.fixture
def batch(face_model):
    generator = torch.Generator().manual_seed(0)
    expression = torch.randn(2, 40, face_model.lower_count, generator=generator)
    identity = torch.randn(2, face_model.identity_count, generator=generator) * 0.3
    ones = torch.ones(2, 40)
    none = torch.zeros(2, 40)
    return {
        "expression": expression,
        "valid": ones,
        "silent": none,
        "closed": none,
        "identity": identity,
        "weight": torch.ones(2),
    }


def test_measures_are_those_of_the_geometry(face_model, batch):
    opening, width = MouthMeasure(face_model)(batch["expression"], batch["identity"])
    for i in range(2):
        full = torch.zeros(40, face_model.expression_count)
        full[:, : face_model.lower_count] = batch["expression"][i]
        vertices = shape_vertices(batch["identity"][i], full, face_model)
        assert torch.allclose(opening[i], mouth_opening(vertices, face_model), atol=1e-5)
        assert torch.allclose(width[i], mouth_width(vertices, face_model), atol=1e-5)


def test_the_truth_costs_nothing(face_model, batch):
    losses = SpeechLosses(face_model, SpeechLossWeights())
    terms = losses(batch["expression"], **batch)
    assert all(float(v) < 1e-4 for v in terms.values())
    assert (
        float(losses.style(batch["expression"], batch["valid"], batch["expression"], batch["valid"])) < 1e-6
    )


def test_each_term_sees_its_own_mistake(face_model, batch):
    losses = SpeechLosses(face_model, SpeechLossWeights())
    truth = batch["expression"]
    constant = losses(truth + 1.0, **batch)
    assert float(constant["vertex"]) > 0.01 and float(constant["velocity"]) < 1e-6
    doubled = losses(2 * truth, **batch)
    assert float(doubled["velocity"]) > 0.01
    still = losses(truth.mean(1, keepdim=True).expand_as(truth), **(batch | {"silent": torch.ones(2, 40)}))
    assert (
        float(still["stillness"])
        < 1e-6
        < float(losses(truth, **(batch | {"silent": torch.ones(2, 40)}))["stillness"])
    )
    assert float(still["correlation"]) == pytest.approx(1.0, abs=0.05)


def test_liveliness_is_the_spread_and_nothing_else(face_model, batch):
    losses = SpeechLosses(face_model, SpeechLossWeights())
    truth = batch["expression"]
    centre = truth.mean(1, keepdim=True)
    assert float(losses(truth[:, torch.randperm(40)], **batch)["liveliness"]) < 1e-6
    calm, lively = (
        float(losses(centre + gain * (truth - centre), **batch)["liveliness"]) for gain in (0.5, 2.0)
    )
    assert 0.1 < calm < 1.0 and 0.1 < lively < 1.0  # log(2) squared is 0.48


def test_invalid_frames_do_not_count(face_model, batch):
    losses = SpeechLosses(face_model, SpeechLossWeights())
    predicted = batch["expression"].clone()
    predicted[:, 30:] += 5
    valid = batch["valid"].clone()
    valid[:, 30:] = 0
    assert all(float(v) < 1e-4 for v in losses(predicted, **(batch | {"valid": valid})).values())


def test_an_open_mouth_costs_where_the_true_one_is_closed(face_model, batch):
    losses = SpeechLosses(face_model, SpeechLossWeights())
    measure = losses.measure
    grid = torch.zeros(1, 41, face_model.lower_count)
    grid[0, :, 0] = torch.linspace(-3, 3, 41)
    opening = measure(grid, torch.zeros(1, face_model.identity_count))[0][0]
    shut, wide = grid[0, opening.argmin()], grid[0, opening.argmax()]
    assert float(opening.min()) < 0.03 < float(opening.max())
    one = {
        "valid": torch.ones(1, 30),
        "silent": torch.zeros(1, 30),
        "closed": torch.ones(1, 30),
        "weight": torch.ones(1),
    }
    one["identity"] = torch.zeros(1, face_model.identity_count)
    closed, opened = shut.expand(1, 30, -1), wide.expand(1, 30, -1)
    assert float(losses(opened, expression=closed, **one)["closure"]) > 1
    assert float(losses(closed, expression=opened, **one)["closure"]) == 0
    assert float(losses(opened, expression=closed, **(one | {"closed": torch.zeros(1, 30)}))["closure"]) == 0


def test_style_term_compares_mean_and_spread(face_model, batch):
    losses = SpeechLosses(face_model, SpeechLossWeights())
    truth, ones = batch["expression"], batch["valid"]
    shuffled = truth[:, torch.randperm(40)]
    assert float(losses.style(shuffled, ones, truth, ones)) < 1e-5
    assert float(losses.style(truth * 1.5, ones, truth, ones)) > 0.01
    assert float(losses.style(truth + 0.5, ones, truth, ones)) > 0.01
