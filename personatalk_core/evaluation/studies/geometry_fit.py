"""How well the fitting follows the landmarks, how still it is, and whether closed mouths stay closed (paper
3.1).

``personatalk study geometry-fit FOLDER_OF_VIDEOS`` prints the table, with an
ablation of the terms; ``--pictures DIR`` also writes mesh overlays, PNCC sheets and plots of the jitter
before and after, to be looked at.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save
from torch import Tensor

from ...dubbing.progress import Progress
from ...errors import OptionsError, PersonaTalkError
from ...geometry.face_model import FaceModel, load_face_model
from ...geometry.fitting import DEFAULT_WEIGHTS, estimate_geometry
from ...geometry.fitting_terms import FittingWeights
from ...geometry.initialisation import initial_coefficients, reconstruct
from ...geometry.vertices import posed_vertices
from ...media.video_reader import VideoReader, probe
from ...tracking.track import track_face
from ...types import FaceTrack, FrameStatus, as_tensor
from ...weights.checkpoint import write_atomically
from ..metrics.flicker import STILL_MOUTH, jitter_ratio, mouth_speed, still_frames
from ..metrics.landmark_distance import image_openings
from .geometry_fit_pictures import write_pictures
from .known_clip import FEWEST, KnownReport, known_report

ABLATION = {
    "all terms": DEFAULT_WEIGHTS,
    "no L_tempo": replace(DEFAULT_WEIGHTS, tempo=0),
    "no L_reg": replace(DEFAULT_WEIGHTS, regularisation=0),
    "neither": replace(DEFAULT_WEIGHTS, tempo=0, regularisation=0),
    "no opening term": replace(DEFAULT_WEIGHTS, opening=0),
    "paper's lambda everywhere": replace(DEFAULT_WEIGHTS, pose_speed=0, lower_speed=0),
}
ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class FitReport:
    """Distances are percent of the distance between the outer eye corners, in the image; the others are
    ratios.

    error: mean distance of projected vertices to their landmarks.  held_out: the same at every second
    landmark (half B) after fitting to the others only (half A).  held_out_raw: what half A says of half B
    frame by frame, through the closed-form fit of each frame alone.  over: percent that held_out is above
    held_out_raw; at most 5 is wanted.
    jitter: mean second difference over the raw landmarks', all vertices, still heads.  jitter_rest: the same
    where the mouth rests too, so that speech is not counted.  jitter_head: only vertices that move with the
    head alone.
    still, rest: frames these were measured in (``still_faces``).
    closed: how much further the lips are open than the landmarks say, in the tenth of frames most closed.
    known_error, known_jitter: on a clip with known coefficients and this clip's noise (``known_clip``).
    """

    error: float
    held_out: float
    held_out_raw: float
    over: float
    jitter: float
    jitter_rest: float
    jitter_head: float
    still: int
    rest: int
    closed: float
    known_error: float
    known_jitter: float


def fit_report(
    track: FaceTrack, face_model: FaceModel, weights: FittingWeights = DEFAULT_WEIGHTS, *, known: bool = True
) -> FitReport:
    """Fit a track and compare with its landmarks; without ``known`` the known clip is left out, half the
    work.

    Raises:
        FaceError: no frame has a face.
    """
    ids, vertex = face_model.landmark_id, face_model.landmark_vertex
    observed = as_tensor(track.status, torch.int64) == int(FrameStatus.OK)
    raw = as_tensor(track.landmarks)[:, ids]
    fitted = posed_vertices(estimate_geometry(track, face_model, weights=weights), face_model)
    unit = float((raw[:, ids == 33] - raw[:, ids == 263]).norm(dim=-1)[observed].median().clamp_min(1e-6))

    def distance(points: Tensor, which: Tensor) -> float:
        return float((points - raw[observed])[:, which, :2].norm(dim=-1).mean() / unit) * 100

    odd = torch.arange(len(ids)) % 2 == 1
    half = posed_vertices(
        estimate_geometry(track, face_model, weights=weights, landmarks=ids[~odd]), face_model
    )[:, vertex]
    alone = reconstruct(
        initial_coefficients(raw[observed], face_model, (~odd).nonzero()[:, 0]), face_model, vertex
    )
    held_out, held_out_raw = distance(half[observed], odd), distance(alone, odd)
    head = face_model.rigid_weight[vertex] > 0.5
    still = still_frames(raw[:, head], unit, observed)
    true, found = image_openings(raw, fitted, face_model, unit)
    rest = still & (mouth_speed(true, observed)[1:-1] < STILL_MOUTH)
    shut = observed & (true <= true[observed].quantile(0.1))
    points = fitted[:, vertex]
    truth = KnownReport(float("nan"), float("nan"))
    if known and int(observed.sum()) >= FEWEST:
        truth = known_report(track, face_model, weights)
    return FitReport(
        error=distance(points[observed], torch.ones(len(ids), dtype=torch.bool)),
        held_out=held_out,
        held_out_raw=held_out_raw,
        over=(held_out / held_out_raw - 1) * 100,
        jitter=jitter_ratio(points, raw, still),
        jitter_rest=jitter_ratio(points, raw, rest),
        jitter_head=jitter_ratio(points[:, head], raw[:, head], still),
        still=int(still.sum()),
        rest=int(rest.sum()),
        closed=float((found - true)[shut].mean()) * 100,
        known_error=truth.error,
        known_jitter=truth.jitter,
    )


def track_video(path: Path, cache: Path | None = None) -> FaceTrack:
    """The most prominent face of a video; ``cache`` is a folder that keeps tracks by the video's sha256."""
    info = probe(path)
    cached = None if cache is None else Path(cache) / f"{info.sha256[:16]}.face_track.safetensors"
    names = ("landmarks", "blendshapes", "status", "shot", "times")
    if cached is not None:
        try:
            return FaceTrack(
                **{name: load_file(cached)[name] for name in names},
                frame_size=(info.height, info.width),
                source=info.sha256,
            )
        except (OSError, SafetensorError, KeyError):
            pass
    track = track_face(VideoReader(info).clip_frames())
    if cached is not None:
        write_atomically(cached, save({name: np.ascontiguousarray(getattr(track, name)) for name in names}))
    return track


def tracks_of(videos: Sequence[Path], cache: Path | None = None) -> dict[Path, FaceTrack]:
    """Tracks of the videos that show a face. Raises OptionsError when none does."""
    tracks = {}
    for path in videos:
        try:
            tracks[path] = track_video(path, cache)
        except PersonaTalkError as error:
            sys.stderr.write(f"{path.name} is left out: {error}\n")
    if not tracks:
        raise OptionsError(
            f"none of the {len(videos)} videos shows a face; pass a folder of videos of people."
        )
    return tracks


def table(tracks: Mapping[str, FaceTrack], face_model: FaceModel) -> str:
    """Markdown: one row a clip with all terms, then the mean of each ablation."""
    titles = list(FitReport.__dataclass_fields__)
    lines = ["| clip | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]

    def row(name: str, values: Sequence[float]) -> str:
        return (
            f"| {name} | "
            + " | ".join("–" if np.isnan(v) else f"{v:.2f}" if v % 1 else f"{v:.0f}" for v in values)
            + " |"
        )

    for label, weights in ABLATION.items():
        rows = []
        for name, track in tracks.items():
            report = fit_report(track, face_model, weights)
            rows.append([getattr(report, title) for title in titles])
            if label == "all terms":
                lines.append(row(name, rows[-1]))
        columns = [[v for v in column if not np.isnan(v)] for column in zip(*rows, strict=True)]
        lines.append(
            row(
                f"**mean, {label}**",
                [float(np.mean(column)) if column else float("nan") for column in columns],
            )
        )
    return "\n".join(lines)


def videos_in(folder: Path) -> list[Path]:
    """Videos of a folder, by name. Raises OptionsError when there is none."""
    videos = sorted(path for path in Path(folder).glob("*") if path.suffix.lower() in ENDINGS)
    if not videos:
        raise OptionsError(f"{folder} holds no video; expected files ending in {', '.join(ENDINGS)}.")
    return videos


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    parser.add_argument("data", type=Path, help="folder of videos")
    parser.add_argument(
        "--tracks",
        type=Path,
        metavar="DIR",
        help="keep tracks there, so that a second run need not track again",
    )
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="write overlays, PNCC sheets and plots there"
    )
    parser.add_argument("--no-table", action="store_true", help="only the pictures")


def run(args: argparse.Namespace, progress: Progress) -> str:
    """The table for a folder of videos, and pictures where they are asked for."""
    tracks, face_model = tracks_of(videos_in(args.data), args.tracks), load_face_model()
    if args.pictures:
        for path, track in tracks.items():
            write_pictures(args.pictures, path, track, face_model)
    if args.no_table:
        return f"{args.pictures}" if args.pictures else ""
    return table({path.stem: track for path, track in tracks.items()}, face_model)
