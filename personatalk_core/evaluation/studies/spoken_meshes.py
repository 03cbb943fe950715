"""Seen and heard: true and predicted mesh side by side for every clip, with sound, and plots of the opening
over time.

personatalk study spoken-meshes FOLDER --out DIR [--pretrained MOONSHINE]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...compose.crop import CropBoxes, crop_boxes, crop_image, crop_points
from ...config import SAMPLE_RATE, DubOptions
from ...dubbing.progress import Progress
from ...errors import DependencyError
from ...geometry.vertices import posed_vertices
from ...media.video_reader import VideoReader, probe
from ...media.video_writer import VideoWriter
from ...models import Models, load_models
from ...previews.mesh_overlay import draw_mesh
from ...types import AudioClip, FaceGeometry
from ..metrics.landmark_distance import mouth_correlation, mouth_series
from .talking_clips import (
    TalkingClip,
    add_clip_options,
    load_judge,
    read_clips,
    spoken_by,
    timeline_of,
)

SIDE = 384  # pixels of each of the three pictures
PANEL_SECONDS = 10.0  # of a plot; longer clips show their beginning


def write_meshes(video: Path, clip: TalkingClip, output: FaceGeometry, models: Models, out: Path) -> None:
    """A video of three pictures a frame: the filmed face, its true mesh, and the predicted mesh; the sound in
    step with the mouth.

    Raises:
        MediaError: the video cannot be read or the result not be written.
    """
    truth, timeline = clip.geometry, timeline_of(clip.geometry)
    boxes = crop_boxes(truth, models.face_model)
    sound = AudioClip(clip.heard[None], SAMPLE_RATE)
    with VideoWriter(out, 3 * SIDE, SIDE, timeline, sound) as writer:
        for index, frame in enumerate(VideoReader(probe(video)).frames(truth.source_frame.tolist())):
            picture = crop_image(frame, boxes.box[index], SIDE)
            dark = (picture * 0.25).astype(np.uint8)
            shown = [picture]
            for geometry in (truth, output):
                posed = posed_vertices(geometry[[index]], models.face_model)
                points = crop_points(posed, CropBoxes(boxes.box[index : index + 1]), SIDE)
                shown.append(
                    draw_mesh(dark, points[0], models.face_model) if bool(truth.usable[index]) else dark
                )
            writer.write(np.concatenate(shown, axis=1))


def draw_openings(
    clips: Sequence[TalkingClip], outputs: Sequence[FaceGeometry], models: Models, out: Path
) -> None:
    """One panel a clip: true and predicted opening over time, loudness beneath. Raises DependencyError
    without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError("plots need matplotlib; install it with 'pip install matplotlib'.") from error
    figure = Figure(figsize=(16, 2.3 * len(clips)), layout="constrained")
    for axes, clip, output in zip(
        figure.subplots(len(clips), 1, squeeze=False)[:, 0], clips, outputs, strict=True
    ):
        times = clip.geometry.times.numpy()
        true, own = (mouth_series(g, models.face_model)[0].numpy() for g in (clip.geometry, output))
        scores = mouth_correlation(output, clip.geometry, models.face_model)
        steps = clip.heard[: len(clip.heard) // 320 * 320].reshape(-1, 320)
        loud = np.sqrt(np.square(steps).mean(1))
        axes.fill_between(
            np.arange(len(loud)) / 50,
            0,
            loud / max(float(loud.max()), 1e-6) * float(true.max()) * 0.5,
            color="0.88",
        )
        axes.plot(times, np.where(clip.geometry.usable.numpy(), true, np.nan), color="black", label="true")
        axes.plot(times, own, color="#d62728", label="predicted")
        figures = (
            f"r {scores['opening_r']:.2f}, width r {scores['width_r']:.2f}, spread "
            f"{scores['opening_gain']:.2f} of the true"
        )
        axes.set_title(f"{clip.name}: {figures}", fontsize=9)
        axes.set_xlim(0, min(PANEL_SECONDS, float(times[-1])))
        axes.legend(fontsize=7, loc="upper right")
    figure.savefig(out, dpi=80)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The study's options."""
    add_clip_options(parser)
    parser.add_argument("--out", type=Path, required=True, help="folder for the videos and openings.png")


def run(args: argparse.Namespace, progress: Progress) -> str:
    """Write a video a clip and one picture of plots; the videos' names."""
    models = load_models(DubOptions(), folder=args.weights, parts=("speech",))
    clips = read_clips(args.data, models, load_judge(args.pretrained), args.cache)
    outputs = [spoken_by(clip.geometry, clip.heard, models) for clip in clips]
    args.out.mkdir(parents=True, exist_ok=True)
    draw_openings(clips, outputs, models, args.out / "openings.png")
    for clip, output in zip(clips, outputs, strict=True):
        write_meshes(args.data / f"{clip.name}.mp4", clip, output, models, args.out / f"{clip.name}.mp4")
    return "\n".join(f"{args.out / clip.name}.mp4" for clip in clips)
