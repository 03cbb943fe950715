"""How well the fitting follows the landmarks, how still it is, and whether closed mouths stay closed (paper 3.1).

``python -m personatalk_core.evaluation.geometry_fit FOLDER_OF_VIDEOS`` prints the table, with an ablation of the terms.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..config import FaceChoice
from ..geometry.face_model import FaceModel, load_face_model
from ..geometry.fitting import DEFAULT_WEIGHTS, estimate_geometry
from ..geometry.fitting_terms import FittingWeights
from ..geometry.initialisation import initial_coefficients, reconstruct
from ..geometry.mouth import mouth_opening
from ..geometry.vertices import posed_vertices
from ..media.video_reader import VideoReader, probe
from ..tracking.track import track_face
from ..types import FaceTrack, FrameStatus, as_tensor

ABLATION = {
    "all terms": DEFAULT_WEIGHTS,
    "no L_tempo": FittingWeights(tempo=0),
    "no L_reg": FittingWeights(regularisation=0),
    "neither": FittingWeights(tempo=0, regularisation=0),
}


@dataclass(frozen=True)
class FitReport:
    """All distances are percent of the distance between the outer eye corners, in the image.

    error: mean distance of projected vertices to their landmarks.  held_out: the same at every second landmark after
    fitting to the others only, and held_out_raw: of the per-frame closed-form fit to them.  jitter, head_jitter: mean second
    difference as a share of the raw landmarks', all vertices and those that move with the head only, over the stiller half
    of the frames.  closed: how much the lips part more than the landmarks say, in the tenth of frames most closed.
    """

    error: float
    held_out: float
    held_out_raw: float
    jitter: float
    head_jitter: float
    closed: float


def fit_report(track: FaceTrack, face_model: FaceModel, weights: FittingWeights = DEFAULT_WEIGHTS) -> FitReport:
    """Fit a track and compare with its landmarks. Raises FaceError where no frame has a face."""
    ids, vertex = face_model.landmark_id, face_model.landmark_vertex
    seen = as_tensor(track.status, torch.int64) == int(FrameStatus.OK)
    raw = as_tensor(track.landmarks)[:, ids]
    unit = (raw[:, ids == 33] - raw[:, ids == 263]).norm(dim=-1)[:, 0].clamp_min(1e-6)  # (T,)

    def distance(points: Tensor, which: Tensor) -> float:
        return float(((points - raw)[:, which, :2].norm(dim=-1) / unit[:, None])[seen].mean()) * 100

    fitted = posed_vertices(estimate_geometry(track, face_model, weights=weights), face_model)
    points = fitted[:, vertex]
    odd = torch.arange(len(ids)) % 2 == 1
    half = posed_vertices(estimate_geometry(track, face_model, weights=weights, landmarks=ids[~odd]), face_model)[:, vertex]
    start = torch.zeros_like(raw)
    start[seen] = reconstruct(initial_coefficients(raw[seen], face_model, (~odd).nonzero()[:, 0]), face_model, vertex)
    head = face_model.rigid_weight[vertex] > 0.5
    still = _still_frames(raw[:, head], unit, seen)

    def jitter(which: Tensor) -> float:
        return float(_second_difference(points[:, which])[still].mean() / _second_difference(raw[:, which])[still].mean())

    whole = fitted.clone()
    whole[:, vertex] = raw
    flat = torch.tensor([1.0, 1.0, 0.0])
    true, found = mouth_opening(whole * flat, face_model) / unit, mouth_opening(fitted * flat, face_model) / unit
    shut = seen & (true <= true[seen].quantile(0.1))
    every = torch.ones(len(ids), dtype=torch.bool)
    return FitReport(distance(points, every), distance(half, odd), distance(start, odd), jitter(every), jitter(head),
                     float((found - true)[shut].mean()) * 100)  # fmt: skip


def _second_difference(points: Tensor) -> Tensor:
    """(T, K, 3) to (T - 2,): mean length of the second difference in the image."""
    return (points[2:] - 2 * points[1:-1] + points[:-2])[..., :2].norm(dim=-1).mean(1)


def _still_frames(points: Tensor, unit: Tensor, seen: Tensor) -> Tensor:
    """(T - 2,) the half of the frames in which the head moves least, of those seen with both neighbours."""
    speed = (points[2:] - points[:-2])[..., :2].mean(1).norm(dim=1) / unit[1:-1]
    whole = seen[2:] & seen[1:-1] & seen[:-2]
    return whole & (speed <= speed[whole].median())


def track_video(path: Path) -> FaceTrack:
    """The most prominent face of a video."""
    info = probe(path)
    return track_face(VideoReader(info).frames(), info.times, (info.height, info.width), FaceChoice.parse("auto"), source=info.sha256)


def table(tracks: dict[str, FaceTrack], face_model: FaceModel) -> str:
    """Markdown: one row a clip with all terms, then the mean of each ablation."""
    titles = list(FitReport.__dataclass_fields__)
    lines = ["| clip | " + " | ".join(titles) + " |", "|---" * (len(titles) + 1) + "|"]

    def row(name: str, values: Sequence[float]) -> str:
        return f"| {name} | " + " | ".join(f"{v:.2f}" for v in values) + " |"

    for label, weights in ABLATION.items():
        rows = []
        for name, track in tracks.items():
            report = fit_report(track, face_model, weights)
            rows.append([getattr(report, title) for title in titles])
            if label == "all terms":
                lines.append(row(name, rows[-1]))
        lines.append(row(f"**mean, {label}**", np.mean(rows, 0)))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table for a folder of videos."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder of videos")
    videos = sorted(parser.parse_args(arguments).data.glob("*.mp4"))
    sys.stdout.write(table({path.stem: track_video(path) for path in videos}, load_face_model()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
