"""Hybrid geometry estimation (paper 3.1): coefficients of a whole clip, initialised from landmarks, optimised
together."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from ..config import MODEL_FPS
from ..errors import FaceError, ShapeError
from ..types import Cache, FaceGeometry, FaceTrack, FrameStatus, OnProgress, as_tensor
from .clip_solver import solve_clip
from .face_model import FaceModel
from .fitting_terms import ClipTarget, FittingWeights, from_pose_vector, pose_vector
from .initialisation import BLOCK, Coefficients, coordinate_weight, initial_coefficients

WINDOW = 250  # frames solved together
OVERLAP = 40  # frames two windows share, cross-faded
KEY_VERTICES = 200
START = "fitting-start"  # under which the cache keeps the initial coefficients
DEFAULT_WEIGHTS = FittingWeights()
NOT_OBSERVED = (FrameStatus.NO_FACE, FrameStatus.COVERED)


def estimate_geometry(
    track: FaceTrack,
    face_model: FaceModel,
    *,
    weights: FittingWeights = DEFAULT_WEIGHTS,
    landmarks: Tensor | None = None,
    start: Coefficients | None = None,
    on_progress: OnProgress | None = None,
    cache: Cache | None = None,
) -> FaceGeometry:
    """Estimate alpha, beta_t and p_t of a tracked face.

    Paper: 3.1, equations 1 and 2. Deviation: the shape is one vector for the clip from the start, so the
    first part of eq. 2 is zero. Shots are solved apart: nothing is smoothed across a cut.
    Args:
        track:     frames without a face, or with a covered one, are bridged by interpolation and weigh
            nothing.
        weights:   of the terms; zeros switch terms off.
        landmarks: (K,) MediaPipe ids to fit to, for tests that hold some out; None for all.
        start:     coefficients of the track's T frames from another source (a network); None: from the
            landmarks.
        cache:     keeps solved windows; those it holds already are not solved again.
    Returns:
        FaceGeometry with the status of the track.
    Raises:
        FaceError: no frame has a face.
        ShapeError: ``start`` has another frame count.
    """
    observed = observed_frames(track)
    shot = as_tensor(track.shot, torch.int64)
    usable = usable_landmarks(face_model, landmarks)
    if start is None:
        start = _start(track, face_model, usable, observed, shot, cache)
    elif len(start.expression) != track.frame_count:
        raise ShapeError(f"start has {len(start.expression)} frames but the track has {track.frame_count}.")
    key = key_landmarks(face_model, usable)
    vertex = face_model.landmark_vertex[key]
    weight = coordinate_weight(face_model, vertex)[:, 0]
    unit = float(start.scale[observed].median())
    points = TrackPoints(track, torch.arange(track.frame_count), face_model.landmark_id[key], 2)
    target = ClipTarget(points, vertex, weight, observed, start, unit, lip_pairs(face_model, vertex))
    solved = solve_windows(target, face_model, weights, shot, on_progress, cache)
    times = as_tensor(track.times, torch.float64)
    steps = times.diff()
    last = steps.median()[None] if len(steps) else times.new_full((1,), 1 / MODEL_FPS)
    return FaceGeometry(
        identity=solved.identity,
        expression=solved.expression,
        rotation=solved.rotation,
        translation=solved.translation,
        scale=solved.scale,
        status=as_tensor(track.status, torch.uint8),
        shot=shot,
        source_frame=torch.arange(track.frame_count),
        times=times,
        durations=torch.cat([steps, last]),
        frame_size=(track.frame_size[0], track.frame_size[1]),
        face_model=face_model.sha256,
        source=track.source,
    )


class TrackPoints:
    """Some landmarks of some frames of a track, (T, K, 3 or 2) float32, read from it by slices: a long track
    lies on disk."""

    def __init__(self, track: FaceTrack, frames: Tensor, landmarks: Tensor, axes: int = 3) -> None:
        self._track, self._frames, self._landmarks, self._axes = track, frames, landmarks.numpy(), axes
        self.shape = (len(frames), len(landmarks), axes)

    def __getitem__(self, frames: slice | Tensor) -> Tensor:
        return torch.from_numpy(
            self._track.landmarks[self._frames[frames].numpy()][:, self._landmarks, : self._axes]
        )


def _has_landmarks(track: FaceTrack) -> Tensor:
    blocks = (track.landmarks[start : start + BLOCK] for start in range(0, track.frame_count, BLOCK))
    return torch.cat([as_tensor(block).abs().sum((1, 2)) > 0 for block in blocks])


def _start(
    track: FaceTrack,
    face_model: FaceModel,
    usable: Tensor,
    observed: Tensor,
    shot: Tensor,
    cache: Cache | None,
) -> Coefficients:
    """Initial coefficients of every frame."""
    cached = cache.load(START) if cache is not None else None
    if cached is not None:
        return Coefficients(**cached.tensors)
    points = TrackPoints(track, observed.nonzero()[:, 0], face_model.landmark_id)
    start = interpolate_gaps(initial_coefficients(points, face_model, usable), observed, shot)
    if cache is not None:
        cache.save(START, {f.name: getattr(start, f.name) for f in fields(start)})
    return start


def observed_frames(track: FaceTrack) -> Tensor:
    """(T,) bool: frames whose landmarks the fitting believes. Raises FaceError when there is none."""
    not_observed = torch.tensor([int(s) for s in NOT_OBSERVED])
    observed = ~torch.isin(as_tensor(track.status, torch.int64), not_observed) & _has_landmarks(track)
    if not bool(observed.any()):
        raise FaceError(
            f"none of the {track.frame_count} frames has a usable face; choose a clip that shows the "
            "speaker's face."
        )
    return observed


def usable_landmarks(face_model: FaceModel, landmarks: Tensor | None) -> Tensor:
    """Positions in the face model's landmark list of the MediaPipe ids that may be used."""
    if landmarks is None:
        return torch.arange(len(face_model.landmark_id))
    return torch.isin(face_model.landmark_id, landmarks).nonzero()[:, 0]


def key_landmarks(face_model: FaceModel, usable: Tensor, count: int = KEY_VERTICES) -> Tensor:
    """The key points of eq. 1: the lips, then vertices spread evenly over the face (farthest first)."""
    vertex = face_model.landmark_vertex[usable]
    position = face_model.mean[vertex]
    lip = torch.isin(vertex, torch.cat([face_model.inner_lips, face_model.outer_lips]))
    chosen = lip.nonzero()[:, 0].tolist() or [0]
    distance = torch.cdist(position, position[chosen]).amin(1)
    while len(chosen) < min(count, len(usable)):
        chosen.append(int(distance.argmax()))
        distance = torch.minimum(distance, (position - position[chosen[-1]]).norm(dim=1))
    return usable[torch.tensor(sorted(chosen))]


def lip_pairs(face_model: FaceModel, vertex: Tensor) -> Tensor:
    """(N, 2) positions in ``vertex`` of inner-lip vertices opposite each other, upper then lower; those that
    are both there."""
    ring = face_model.inner_lips
    where = {int(v): k for k, v in enumerate(vertex)}
    opposite = [(int(ring[k]), int(ring[-k])) for k in range(1, len(ring) // 2)]
    pairs = [(where[upper], where[lower]) for upper, lower in opposite if upper in where and lower in where]
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)


def interpolate_gaps(found: Coefficients, observed: Tensor, shot: Tensor) -> Coefficients:
    """Coefficients of every frame from those of the observed ones: linear between neighbours within a shot,
    held at its ends."""
    known = observed.nonzero()[:, 0].numpy()
    index = np.arange(len(observed))
    filled = {}
    for name in ("expression", "rotation", "translation", "scale"):
        values = getattr(found, name).numpy().reshape(len(known), -1)
        rows = np.empty((len(observed), values.shape[1]), np.float32)
        for number in torch.unique(shot):
            in_shot = (shot == number).numpy()
            of_shot = in_shot[known] if in_shot[known].any() else np.ones(len(known), bool)
            for k, column in enumerate(values[of_shot].T):
                rows[in_shot, k] = np.interp(index[in_shot], known[of_shot], column)
        filled[name] = torch.from_numpy(rows).reshape(len(observed), *getattr(found, name).shape[1:])
    return replace(found, **filled)


def windows(frames: int, window: int = WINDOW, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """(start, end) of windows that cover the frames, each sharing ``overlap`` frames with the next."""
    if frames <= window:
        return [(0, frames)]
    step = window - overlap
    count = -(-(frames - overlap) // step)
    return [(k * step, min(frames, k * step + window)) for k in range(count)]


def solve_windows(
    target: ClipTarget,
    face_model: FaceModel,
    weights: FittingWeights,
    shot: Tensor,
    on_progress: OnProgress | None = None,
    cache: Cache | None = None,
) -> Coefficients:
    """Solve each shot in overlapping windows and cross-fade where they overlap."""
    total, done = len(target.observed), 0

    def alive() -> None:
        if on_progress is not None:
            on_progress(done, total)

    window = cache.window if cache is not None else None
    expression, pose = torch.zeros_like(target.start.expression), torch.zeros(total, 6)
    first = torch.cat([torch.tensor([True]), shot.diff() != 0]).nonzero()[:, 0].tolist()
    for begin, end in zip(first, [*first[1:], total], strict=True):
        spans = windows(end - begin, 3 * window, window) if window else windows(end - begin)
        for number, (a, b) in enumerate(spans):
            # solve, or take what an earlier run has solved
            frames = torch.arange(begin + a, begin + b)
            name = f"fitting-{begin + a:07d}"
            cached = cache.load(name) if cache is not None else None
            if cached is not None:
                window_expression, window_pose = cached.tensors["expression"], cached.tensors["pose"]
            else:
                solved = solve_clip(target.window(frames), face_model, weights, on_step=alive)
                window_expression, window_pose = solved.expression, pose_vector(solved, target.unit)
                if cache is not None:
                    cache.save(name, {"expression": window_expression, "pose": window_pose})

            # cross-fade with the windows before and after
            fade = torch.ones(b - a)
            if number:
                shared = spans[number - 1][1] - a
                fade[:shared] = (torch.arange(shared) + 1) / (shared + 1)
            if number + 1 < len(spans):
                shared = b - spans[number + 1][0]
                fade[-shared:] = torch.minimum(fade[-shared:], 1 - (torch.arange(shared) + 1) / (shared + 1))
            expression[frames] += window_expression * fade[:, None]
            pose[frames] += window_pose * fade[:, None]
            done = min(total, begin + b)
            alive()
    return from_pose_vector(pose, expression, target.start.identity, target.unit)
