"""Fitting whole clips: known coefficients, gaps, cuts, windows, and what cannot be fitted."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from personatalk_core.errors import FaceError, ShapeError
from personatalk_core.geometry import fitting
from personatalk_core.geometry.face_model import load_face_model
from personatalk_core.geometry.fitting import estimate_geometry, interpolate_gaps, windows
from personatalk_core.geometry.fitting_terms import FittingWeights
from personatalk_core.geometry.initialisation import Coefficients, initial_coefficients, reconstruct
from personatalk_core.geometry.vertices import canonical_vertices, mouth_opening, posed_vertices
from personatalk_core.types import FaceTrack, FrameStatus


@pytest.fixture(scope="module")
def model():
    return load_face_model()


def talking(model, frames: int, seed: int = 0) -> Coefficients:
    """A nodding head that opens and closes its mouth, and blinks."""
    generator = torch.Generator().manual_seed(seed)
    t = torch.arange(frames) / 25
    expression = torch.outer((0.5 - 0.5 * torch.cos(2 * torch.pi * 2 * t)) * 0.6, model.direction("jawOpen"))
    blink = model.direction("eyeBlinkLeft") + model.direction("eyeBlinkRight")
    expression = expression + torch.outer((torch.arange(frames) % 60 < 4).float(), blink)
    rotation = torch.stack([0.08 * torch.sin(2 * t), 0.25 * torch.sin(t), 0.03 * torch.cos(t)], 1)
    return Coefficients(
        torch.randn(model.identity_count, generator=generator) * 0.3,
        expression,
        rotation,
        torch.stack([200 + 5 * torch.sin(t), 150 + 0 * t], 1),
        torch.full((frames,), 90.0),
    )


def track_of(
    model, truth: Coefficients, noise: float = 0.0, status=None, shot=None, seed: int = 1
) -> FaceTrack:
    frames = len(truth.expression)
    marks = np.zeros((frames, 478, 3), np.float32)
    points = reconstruct(truth, model, torch.arange(468)).numpy()
    generator = np.random.default_rng(seed)
    shake = generator.normal(size=(frames, 1, 3)) * noise + generator.normal(size=points.shape) * noise / 3
    marks[:, :468] = points + shake  # landmarks of one frame err together
    status = np.zeros(frames, np.uint8) if status is None else status
    marks[status == FrameStatus.NO_FACE] = 0
    shot = np.zeros(frames, np.int64) if shot is None else shot
    return FaceTrack(
        marks, np.zeros((frames, 52), np.float32), status, shot, np.arange(frames) / 25, (300, 400), "source"
    )


def jitter(points):
    return float((points[2:] - 2 * points[1:-1] + points[:-2])[..., :2].norm(dim=-1).mean())


def test_clean_landmarks_of_known_coefficients_are_found_again(model):
    truth = talking(model, 40)
    geometry = estimate_geometry(track_of(model, truth), model)
    points = reconstruct(truth, model, torch.arange(468))[..., :2]
    error = (posed_vertices(geometry, model)[:, :468, :2] - points).norm(dim=-1).mean() / 90
    assert float(error) < 0.006
    assert float((geometry.rotation - truth.rotation).abs().max()) < 0.03
    assert (
        geometry.face_model == model.sha256
        and geometry.source == "source"
        and geometry.frame_size == (300, 400)
    )
    assert torch.equal(geometry.source_frame, torch.arange(40))
    torch.testing.assert_close(geometry.durations, torch.full((40,), 0.04, dtype=torch.float64))


def test_noise_is_halved_and_the_truth_approached(model):
    truth = talking(model, 40)
    truth = replace(truth, rotation=truth.rotation * 0)  # a still head that talks
    noisy = track_of(model, truth, noise=0.5)
    raw = torch.from_numpy(noisy.landmarks[:, :468])
    clean = reconstruct(truth, model, torch.arange(468))
    fitted = posed_vertices(estimate_geometry(noisy, model), model)[:, :468]
    head = (model.rigid_weight[:468] > 0.5).nonzero()[:, 0]
    assert jitter((fitted - clean)[:, head]) < 0.5 * jitter((raw - clean)[:, head])
    assert jitter(fitted - clean) < 0.6 * jitter(raw - clean)
    assert float((fitted - clean)[..., :2].norm(dim=-1).mean()) < float(
        (raw - clean)[..., :2].norm(dim=-1).mean()
    )


def test_closed_mouths_stay_closed(model):
    truth = talking(model, 60)
    geometry = estimate_geometry(track_of(model, truth, noise=0.3), model)
    true_opening = mouth_opening(
        canonical_vertices(replace(geometry, identity=truth.identity, expression=truth.expression), model),
        model,
    )
    opening = mouth_opening(canonical_vertices(geometry, model), model)
    closed = true_opening <= true_opening.quantile(0.1)
    assert float((opening - true_opening)[closed].mean()) < 0.01
    assert np.corrcoef(opening, true_opening)[0, 1] > 0.98


def test_without_the_temporal_terms_jitter_comes_back(model):
    noisy = track_of(model, talking(model, 40), noise=0.5)
    with_terms, without = FittingWeights(), FittingWeights(tempo=0)
    smooth, rough = (
        posed_vertices(estimate_geometry(noisy, model, weights=w), model)[:, :468]
        for w in (with_terms, without)
    )
    assert jitter(rough) > 1.5 * jitter(smooth)


def test_gaps_are_bridged_and_weigh_nothing(model):
    truth = talking(model, 40)
    status = np.zeros(40, np.uint8)
    status[15:20] = FrameStatus.NO_FACE
    covered = status.copy()
    covered[30:33] = FrameStatus.COVERED
    track = track_of(model, truth, status=covered)
    wild = track.landmarks.copy()
    wild[30:33] += 500  # what is seen of a covered face is not to be believed
    geometry = estimate_geometry(replace(track, landmarks=wild), model)
    assert torch.equal(geometry.status, torch.from_numpy(covered))
    assert float((geometry.translation - truth.translation).norm(dim=1).max()) < 4
    assert float((geometry.rotation - truth.rotation).abs().max()) < 0.06


def test_nothing_is_smoothed_across_a_cut(model):
    truth = talking(model, 30)
    moved = replace(
        truth, translation=truth.translation + torch.where(torch.arange(30) < 15, 0, 100)[:, None]
    )
    shot = (np.arange(30) >= 15).astype(np.int64)
    geometry = estimate_geometry(track_of(model, moved, shot=shot), model)
    alone = estimate_geometry(track_of(model, truth[:15]), model)
    assert float((geometry.translation[:15] - alone.translation).abs().max()) < 1.0
    assert float((geometry.translation[15] - geometry.translation[14])[0]) > 98


def test_windows_cover_everything_and_share_frames():
    for frames in (1, 249, 250, 251, 460, 461, 1000):
        spans = windows(frames)
        assert spans[0][0] == 0 and spans[-1][1] == frames
        for (_, end), (start, _) in itertools.pairwise(spans):
            assert end - start == fitting.OVERLAP


def test_windows_agree_with_solving_everything_at_once(model, monkeypatch):
    noisy = track_of(model, talking(model, 60), noise=0.3)
    whole = posed_vertices(estimate_geometry(noisy, model), model)
    calls = []
    monkeypatch.setattr(fitting, "windows", lambda frames: windows(frames, 40, 15))
    pieces = posed_vertices(
        estimate_geometry(noisy, model, on_progress=lambda done, total: calls.append((done, total))), model
    )
    assert float((whole - pieces)[..., :2].norm(dim=-1).mean()) < 0.15  # px, at 90 px a unit
    assert list(dict.fromkeys(calls)) == [(0, 60), (40, 60), (60, 60)]


def test_one_frame_is_enough_and_none_is_refused(model):
    single = track_of(model, talking(model, 1))
    geometry = estimate_geometry(single, model)
    assert geometry.frame_count == 1 and float(geometry.durations[0]) > 0
    with pytest.raises(FaceError, match="none of the 1 frames"):
        estimate_geometry(replace(single, status=np.array([FrameStatus.NO_FACE], np.uint8)), model)


def test_another_initialiser_may_take_the_landmarkers_place(model):
    truth = talking(model, 20)
    track = track_of(model, truth)
    geometry = estimate_geometry(track, model, start=truth)
    assert torch.equal(geometry.identity, truth.identity)
    with pytest.raises(ShapeError, match="start has 19"):
        estimate_geometry(track, model, start=replace(truth, expression=truth.expression[:19]))


def test_held_out_landmarks_are_met_too(model):
    truth = talking(model, 20)
    geometry = estimate_geometry(track_of(model, truth), model, landmarks=torch.arange(0, 468, 2))
    points = reconstruct(truth, model, torch.arange(468))
    error = (posed_vertices(geometry, model)[:, 1:468:2, :2] - points[:, 1::2, :2]).norm(dim=-1).mean() / 90
    assert float(error) < 0.008


def test_bridging_is_linear_within_a_shot_and_holds_at_its_ends(model):
    found = Coefficients(
        torch.zeros(1),
        torch.tensor([[0.0], [3.0], [9.0]]),
        torch.zeros(3, 3),
        torch.zeros(3, 2),
        torch.ones(3),
    )
    seen = torch.tensor([True, False, False, True, False, False, True])
    shot = torch.tensor([0, 0, 0, 0, 0, 1, 1])
    assert interpolate_gaps(found, seen, shot).expression[:, 0].tolist() == [0, 1, 2, 3, 3, 9, 9]


def test_the_closed_form_start_is_already_near(model):
    truth = talking(model, 10)
    points = reconstruct(truth, model, torch.arange(468))
    found = initial_coefficients(points, model)
    error = (reconstruct(found, model, torch.arange(468)) - points)[..., :2].norm(dim=-1).mean() / 90
    assert float(error) < 0.006
