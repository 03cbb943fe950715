"""Clips with known coefficients: the truth is free of noise, the noise is the clip's own, the fitting comes
nearer than the landmarks."""

import numpy as np
import pytest
import torch

from personatalk_core.errors import FaceError
from personatalk_core.evaluation.metrics.flicker import second_difference
from personatalk_core.evaluation.studies.known_clip import known_clip, known_report
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.fitting import DEFAULT_WEIGHTS
from personatalk_core.geometry.fitting_terms import FittingWeights
from personatalk_core.types import FaceTrack, FrameStatus


def nodding(frames: int = 40, noise: float = 0.4) -> FaceTrack:
    """A nodding mean face whose landmarks tremble together and each on its own."""
    model = load_face_model()
    generator = np.random.default_rng(0)
    marks = np.zeros((frames, 478, 3), np.float32)
    marks[:, :468] = (model.mean[:468] * torch.tensor([90.0, -90, 90]) + 150).numpy()
    marks[:, :, 1] += 3 * np.sin(np.arange(frames) / 8)[:, None]
    marks[:, :468] += (
        generator.normal(size=(frames, 468, 3)) * noise / 2 + generator.normal(size=(frames, 1, 3)) * noise
    )
    status = np.zeros(frames, np.uint8)
    status[3] = FrameStatus.NO_FACE
    return FaceTrack(
        marks,
        np.zeros((frames, 52), np.float32),
        status,
        np.zeros(frames, np.int64),
        np.arange(frames) / 25,
        (300, 300),
    )


def test_truth_is_calm_and_noise_is_moved_but_kept():
    track, model = nodding(), load_face_model()
    noisy, truth = known_clip(track, model)
    assert noisy.frame_count == len(truth) == 39  # the frame without a face is gone
    raw = torch.from_numpy(noisy.landmarks)[:, model.landmark_id]
    assert float(second_difference(truth).mean()) < 0.15 * float(second_difference(raw).mean())
    noise = raw - truth
    assert float(noise.mean(0).abs().max()) < 1e-3
    own = torch.from_numpy(track.landmarks[track.status == 0])[:, model.landmark_id] - truth
    torch.testing.assert_close(noise, (own - own.mean(0)).roll(19, 0), atol=1e-3, rtol=0)


def test_the_fitting_beats_the_landmarks_and_lambda_is_why():
    model = load_face_model()
    report = known_report(nodding(), model, DEFAULT_WEIGHTS)
    assert report.error < 1.0 and report.jitter < 0.5
    assert known_report(nodding(), model, FittingWeights(tempo=0)).jitter > 1.5 * report.jitter


def test_a_short_clip_is_refused():
    with pytest.raises(FaceError, match="at least 20"):
        known_clip(nodding(12), load_face_model())
