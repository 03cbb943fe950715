"""What the fitting looks like: mesh and coordinate map over frames of a clip, and its jitter before and after
as a plot."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from ...compose.crop import crop_boxes, crop_image, crop_points
from ...errors import DependencyError
from ...geometry.face_model import FaceModel
from ...geometry.fitting import estimate_geometry
from ...geometry.vertices import posed_vertices
from ...media.video_reader import VideoReader, probe
from ...previews.mesh_overlay import draw_coordinates, draw_mesh
from ...types import CropBoxes, FaceTrack, FrameStatus, as_tensor
from ..metrics.flicker import second_difference, still_frames
from ..metrics.landmark_distance import image_openings

COLUMNS = 6
SIDE = 320  # pixels of one picture of a sheet


def write_pictures(folder: Path, video: Path, track: FaceTrack, face_model: FaceModel) -> list[Path]:
    """Write ``NAME_sheet.png`` and ``NAME_jitter.png`` of one clip.

    The sheet's columns are frames spread over the clip, the frame with the widest mouth and the one turned
    furthest among them; its rows are the picture, the mesh over it, and the PNCC. The plot has jitter and
    mouth opening, of the landmarks and of the fit.
    Raises:
        DependencyError: matplotlib is missing.
        FaceError: no frame has a face.
    """
    geometry = estimate_geometry(track, face_model)
    vertices = posed_vertices(geometry, face_model)
    curves = _curves(track, vertices, float(geometry.scale[geometry.usable].median()), face_model)
    observed, opening = curves.observed, curves.openings[0]
    # the sheet
    frames = _frames_to_show(
        observed, torch.where(observed, opening, 0), geometry.rotation.norm(dim=1) * observed
    )
    boxes = CropBoxes(crop_boxes(geometry, face_model).box[frames])
    inside = crop_points(vertices[frames], boxes, SIDE)
    columns = []
    for frame, box, points in zip(VideoReader(probe(video)).frames(frames), boxes.box, inside, strict=True):
        picture = crop_image(frame, box, SIDE)
        rows = (
            picture,
            draw_mesh(picture, points, face_model),
            draw_coordinates(np.zeros_like(picture), points, face_model),
        )
        columns.append(np.concatenate(rows))
    # both files
    folder.mkdir(parents=True, exist_ok=True)
    sheet, plot = folder / f"{video.stem}_sheet.png", folder / f"{video.stem}_jitter.png"
    cv2.imwrite(str(sheet), np.ascontiguousarray(np.concatenate(columns, 1)[..., ::-1]))
    _plot(plot, video.stem, curves, face_model)
    return [sheet, plot]


@dataclass(frozen=True, eq=False)
class FitCurves:
    """times (T,) seconds.  landmarks, fitted: (T, K, 3) pixels.  openings: of both, two of (T,) eye
    distances.  unit: pixels an eye distance.  observed: (T,) bool."""

    times: np.ndarray
    landmarks: Tensor
    fitted: Tensor
    openings: tuple[Tensor, Tensor]
    unit: float
    observed: Tensor


def _curves(track: FaceTrack, vertices: Tensor, unit: float, face_model: FaceModel) -> FitCurves:
    landmarks = as_tensor(track.landmarks)[:, face_model.landmark_id]
    return FitCurves(
        np.asarray(track.times),
        landmarks,
        vertices[:, face_model.landmark_vertex],
        image_openings(landmarks, vertices, face_model, unit),
        unit,
        as_tensor(track.status, torch.int64) == int(FrameStatus.OK),
    )


def _frames_to_show(observed: Tensor, opening: Tensor, turn: Tensor) -> list[int]:
    index = observed.nonzero()[:, 0]
    spread = index[torch.linspace(0, len(index) - 1, min(COLUMNS - 2, len(index))).long()]
    return sorted({*spread.tolist(), int(opening.argmax()), int(turn.argmax())})


def _plot(path: Path, title: str, curves: FitCurves, face_model: FaceModel) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("plots need matplotlib; install it with 'pip install matplotlib'.") from error
    times, observed = curves.times, curves.observed
    head = face_model.rigid_weight[face_model.landmark_vertex] > 0.5
    still = still_frames(curves.landmarks[:, head], curves.unit, observed)
    all_three = observed[2:] & observed[1:-1] & observed[:-2]
    missing = torch.full((len(all_three),), float("nan"))
    figure = Figure(figsize=(11, 6), layout="constrained")
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    for axes, which, name in ((upper, slice(None), "all vertices"), (middle, head, "upper face")):
        for points, label, colour in (
            (curves.landmarks, "landmarks", "tab:red"),
            (curves.fitted, "fit", "tab:blue"),
        ):
            value = torch.where(
                all_three, second_difference(points[:, which]).mean(1) / curves.unit * 100, missing
            )
            axes.plot(times[1:-1], value, label=label, color=colour, linewidth=0.9)
        axes.set_ylabel(f"second difference\n% of eye distance\n{name}", fontsize=8)
    for values, label, colour in zip(
        curves.openings, ("landmarks", "fit"), ("tab:red", "tab:blue"), strict=True
    ):
        lower.plot(
            times, torch.where(observed, values * 100, float("nan")), label=label, color=colour, linewidth=0.9
        )
    lower.set_ylabel("mouth opening\n% of eye distance", fontsize=8)
    lower.set_xlabel("seconds; grey: the head is still")
    upper.set_title(title)
    for axes in (upper, middle, lower):
        axes.fill_between(
            times[1:-1],
            0,
            1,
            where=still.numpy(),
            transform=axes.get_xaxis_transform(),
            color="0.9",
            linewidth=0,
        )
        axes.legend(fontsize=7, loc="upper right")
    figure.savefig(path, dpi=90)
