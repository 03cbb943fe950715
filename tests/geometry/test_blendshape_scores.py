"""Named scores and the files of them."""

import csv
import json
from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import ShapeError
from personatalk_core.geometry.export import (
    blendshape_scores,
    head_angles,
    write_arkit_csv,
    write_live_link_json,
)


def test_a_known_score_is_found_again(face_model):
    scores, names = blendshape_scores(face_model.direction("jawOpen")[None] * 0.6, face_model)
    assert names[int(scores[0].argmax())] == "jawOpen"
    assert float(scores[0].max()) == pytest.approx(0.6, abs=0.2)
    assert float(scores.min()) >= 0 and float(scores.max()) <= 1
    rebuilt = scores @ torch.stack([face_model.direction(n) for n in names])
    assert (
        float(
            (rebuilt - face_model.direction("jawOpen") * 0.6).norm() / face_model.direction("jawOpen").norm()
        )
        < 0.15
    )


def test_rest_has_no_scores(face_model):
    assert (
        float(blendshape_scores(torch.zeros(2, face_model.expression_count), face_model)[0].abs().max()) == 0
    )


def test_head_angles_have_the_stated_signs(moving_geometry):
    angle = torch.tensor([[0.0, 0.3, 0], [-0.2, 0, 0], [0, 0, -0.1]])
    turned = replace(moving_geometry, rotation=torch.cat([angle, torch.zeros(5, 3)]))
    torch.testing.assert_close(
        head_angles(turned)[:3], torch.tensor([[0.3, 0, 0], [0, 0.2, 0], [0, 0, 0.1]]), atol=1e-6, rtol=0
    )


def test_files_have_a_row_a_frame_and_the_same_numbers(moving_geometry, face_model, tmp_path):
    write_arkit_csv(tmp_path / "a.csv", moving_geometry, face_model)
    write_live_link_json(tmp_path / "a.json", moving_geometry, face_model)
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    document = json.loads((tmp_path / "a.json").read_text())
    assert len(rows) == len(document["frames"]) == 8
    assert float(rows[7]["JawOpen"]) == pytest.approx(
        document["frames"][7]["blendShapes"]["jawOpen"], abs=1e-5
    )
    assert float(rows[7]["JawOpen"]) > float(rows[2]["JawOpen"]) > 0
    assert float(rows[3]["Timecode"]) == pytest.approx(0.12)
    assert float(rows[7]["HeadYaw"]) == pytest.approx(document["frames"][7]["head"]["yaw"], abs=1e-5)


def test_a_model_without_names_is_refused(face_model):
    plain = replace(face_model, direction_names=(), directions=face_model.directions[:0])
    with pytest.raises(ShapeError, match="no named"):
        blendshape_scores(torch.zeros(1, face_model.expression_count), plain)
