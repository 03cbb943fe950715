"""Clips whose coefficients are known, with a real clip's own noise on their landmarks: what the fitting makes
of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from ...errors import FaceError
from ...geometry.face_model import FaceModel
from ...geometry.fitting import estimate_geometry
from ...geometry.fitting_terms import FittingWeights
from ...geometry.initialisation import Coefficients, initial_coefficients, reconstruct
from ...geometry.vertices import posed_vertices
from ...types import FaceTrack, FrameStatus
from ..metrics.flicker import jitter_ratio, still_frames

# frames, standard deviation of the Gaussian that parts motion from noise: 4 Hz at 25 fps passes by half
LOW_PASS = 1.5
FEWEST = 20  # observed frames


@dataclass(frozen=True)
class KnownReport:
    """error: mean distance of the held-out half of the vertices to the truth, over that of the noisy
    landmarks themselves.  jitter: mean second difference of what is wrong, over that of the noise; all
    vertices, still heads."""

    error: float
    jitter: float


def known_clip(track: FaceTrack, face_model: FaceModel) -> tuple[FaceTrack, Tensor]:
    """A clip with known coefficients that moves like a real one and trembles like it.

    The truth is the real clip's closed-form coefficients of each frame, low-passed (``LOW_PASS``): no term of
    the fitting has seen it. The noise is what that leaves of the real landmarks, without each landmark's
    mean, moved by half a clip, so that it has nothing to do with the truth's motion.
    Returns:
        The noisy track of the observed frames, and the true points (T, K, 3) of the face model's landmarks.
    Raises:
        FaceError: fewer than ``FEWEST`` frames with a face.
    """
    observed = track.status == int(FrameStatus.OK)
    frames = int(observed.sum())
    if frames < FEWEST:
        raise FaceError(
            f"{frames} frames show a face but a known clip is made of at least {FEWEST}; use a longer clip."
        )
    marks = torch.from_numpy(track.landmarks[observed])
    raw = marks[:, face_model.landmark_id]
    found = initial_coefficients(raw, face_model)
    calm = {
        name: _low_pass(getattr(found, name)) for name in ("expression", "rotation", "translation", "scale")
    }
    truth = reconstruct(Coefficients(found.identity, **calm), face_model, face_model.landmark_vertex)
    noise = raw - truth
    noise = (noise - noise.mean(0)).roll(frames // 2, 0)
    marks[:, face_model.landmark_id] = truth + noise
    fields = {
        "blendshapes": track.blendshapes[observed],
        "status": track.status[observed],
        "times": track.times[: int(frames)],
    }
    return replace(track, landmarks=marks.numpy(), shot=track.shot[observed] * 0, **fields), truth


def known_report(track: FaceTrack, face_model: FaceModel, weights: FittingWeights) -> KnownReport:
    """Fit a known clip and compare with the truth. Raises FaceError where the track is too short for one."""
    noisy, truth = known_clip(track, face_model)
    raw = torch.from_numpy(noisy.landmarks)[:, face_model.landmark_id]
    vertex, odd = face_model.landmark_vertex, torch.arange(len(face_model.landmark_id)) % 2 == 1

    def fit(landmarks: Tensor | None) -> Tensor:
        geometry = estimate_geometry(noisy, face_model, weights=weights, landmarks=landmarks)
        return posed_vertices(geometry, face_model)[:, vertex]

    fitted, half = fit(None), fit(face_model.landmark_id[~odd])

    def off(points: Tensor) -> Tensor:
        return (points - truth)[:, odd, :2].norm(dim=-1).mean()

    head = face_model.rigid_weight[vertex] > 0.5
    unit = float(
        (truth[:, vertex == face_model.eye_corners[0]] - truth[:, vertex == face_model.eye_corners[1]])
        .norm(dim=-1)
        .median()
    )
    still = still_frames(truth[:, head], unit, torch.ones(len(truth), dtype=torch.bool))
    return KnownReport(float(off(half) / off(raw)), jitter_ratio(fitted - truth, raw - truth, still))


def _low_pass(values: Tensor) -> Tensor:
    return torch.from_numpy(gaussian_filter1d(values.double().numpy(), LOW_PASS, axis=0, mode="nearest")).to(
        values
    )
