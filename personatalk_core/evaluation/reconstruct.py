"""The renderer's self-test: a video's own geometry rendered from references some frames away, measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..compose.crop import LANCZOS, crop_image
from ..config import DubOptions
from ..dubbing.frame_renderer import FrameRenderer, RenderedFrame
from ..dubbing.progress import Progress
from ..dubbing.run import OutputFiles, Run
from ..dubbing.write_dub import write_dub
from ..media.audio_stream import AudioStream
from ..media.video_reader import probe
from ..models import Models
from ..pipeline import estimate_geometry
from ..rendering.references import ReferenceOptions, select_references
from ..types import DubReport
from .metrics.reconstruction import reconstruction_report


class MeasuredFrames(FrameRenderer):
    """Frames that are compared with the truth as they pass by. rows: the numbers of each."""

    rows: list[dict[str, float]]

    def frames(self, runs: Iterable[range]) -> Iterator[RenderedFrame]:
        self.rows = []
        for item in super().frames(runs):
            if item.crop is not None and item.source_points is not None:
                size = item.crop.shape[-1]
                truth = torch.from_numpy(crop_image(item.frame, item.box, size, LANCZOS))  # (R, R, 3)
                truth = truth.permute(2, 0, 1).float() / 255
                self.rows.append(
                    reconstruction_report(
                        item.crop[None], truth[None], item.source_points[None], self.face_model
                    )
                )
            yield item

    def averages(self) -> dict[str, float]:
        """Each number averaged over frames (``detail_lips``: median), and how many frames were measured."""
        averages = {}
        for name in self.rows[0] if self.rows else ():
            values = np.array([row[name] for row in self.rows])
            averages[name] = float(np.nanmedian(values) if name.startswith("detail") else np.nanmean(values))
        return averages | {"frames": float(len(self.rows))}


def reconstruct(
    video: Path, out: Path, models: Models, options: DubOptions, *, progress: Progress | None = None
) -> DubReport:
    """Render a video's own geometry from references at least ``options.exclude_window`` frames away.

    Returns:
        A report whose ``metrics`` are those of :func:`reconstruction_report`, averaged over frames
        (``detail_lips``: median), measured on the crops the renderer works on, before pasting.
    """
    files = replace(OutputFiles.of(out).verify(), resume=False)  # every frame must be measured
    run = Run(models, options, progress or Progress())
    clip = probe(Path(video))
    geometry = estimate_geometry(clip, run)
    choice = ReferenceOptions.of(options)
    references = select_references(geometry, models.face_model, geometry.source_frame, choice)
    sound = AudioStream(clip.path) if clip.has_audio else None
    with run.caching("reconstruct", files, video=clip.sha256) as (cached, _):
        frames = MeasuredFrames(clip, geometry, references, cached, whole_face=True)
        report = write_dub(frames, files, cached, sound)
    report.metrics.update(frames.averages())
    return report
