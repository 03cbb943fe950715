"""The fitting's report on an unseen person, and its known answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.evaluation.geometry_fit import fit_report, table, track_video
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.fitting_terms import FittingWeights
from personatalk_core.types import FaceTrack


def still_face(frames: int = 12) -> FaceTrack:
    model = load_face_model()
    marks = np.zeros((frames, 478, 3), np.float32)
    marks[:, :468] = (model.mean[:468] * torch.tensor([90.0, -90, 90]) + 150).numpy()
    generator = np.random.default_rng(0)
    marks += generator.normal(size=marks.shape) * 0.4 + generator.normal(size=(frames, 1, 3)) * 0.1  # each landmark trembles, all a little
    status, shot = np.zeros(frames, np.uint8), np.zeros(frames, np.int64)
    return FaceTrack(marks, np.zeros((frames, 52), np.float32), status, shot, np.arange(frames) / 25, (300, 300))


def test_a_trembling_still_face_is_calmed_and_stays_shut():
    model = load_face_model()
    report = fit_report(still_face(), model)
    assert report.jitter < 0.5 and report.head_jitter < 0.5
    assert report.error < 1.0 and abs(report.closed) < 1.0
    rough = fit_report(still_face(), model, FittingWeights(tempo=0))
    assert rough.jitter > 1.3 * report.jitter


def test_the_table_has_a_row_a_clip_and_an_ablation():
    lines = table({"a": still_face(), "b": replace(still_face(), source="b")}, load_face_model()).splitlines()
    assert len(lines) == 2 + 2 + 4
    assert lines[2].startswith("| a |") and "no L_tempo" in lines[5]


def test_an_unseen_person_is_followed(corpus):
    report = fit_report(track_video(next((corpus / "test").glob("grid_x3*.mp4"))), load_face_model())
    assert report.error < 1.2  # percent of the eye distance
    assert report.held_out < 1.05 * report.held_out_raw
    assert report.head_jitter < 0.5
    assert report.closed < 1.0


@pytest.mark.parametrize("frames", [3, 4])
def test_short_clips_are_reported_too(frames):
    assert np.isfinite(fit_report(still_face(frames), load_face_model()).error)
