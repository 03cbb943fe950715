"""The rows of the quality table: how each makes a video from a source clip. Every row is a function of one :class:`QualityClip`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from .. import pipeline
from ..config import DubOptions
from ..media.audio import read_audio
from ..media.video_reader import probe
from ..models import Models
from ..progress import Stages
from ..rendering.references import usable_frames
from ..types import AudioClip, FaceGeometry, ReferenceSelection
from ..video_rendering import frames_of

EXCLUDE_WINDOW = 12  # a self-dub never samples the pixels it is compared with


@dataclass(frozen=True, eq=False)
class QualityClip:
    """One source: video, its geometry, its own sound in step with the picture, and the sound of another clip."""

    video: Path
    geometry: FaceGeometry
    own: Path
    foreign: Path


@dataclass(frozen=True)
class Row:
    """title; audio: which sound it speaks; make(clip, out, models, options, frames, stages) writes the video, None: it is the source."""

    title: str
    audio: str
    make: Callable[[QualityClip, Path, Models, DubOptions, int | None, Stages], None] | None


def self_dub(clip: QualityClip, out: Path, models: Models, options: DubOptions, frames: int | None, stages: Stages) -> None:
    """The clip's own words; references at least EXCLUDE_WINDOW frames away (paper, Table 1)."""
    own = replace(options, exclude_window=max(options.exclude_window, EXCLUDE_WINDOW))
    _render(clip, clip.own, out, models, own, frames, stages)


def cross_audio(clip: QualityClip, out: Path, models: Models, options: DubOptions, frames: int | None, stages: Stages) -> None:
    """Another clip's words: what a dub is for, and where copying the source's mouth is found out."""
    _render(clip, clip.foreign, out, models, options, frames, stages)


def random_references(clip: QualityClip, out: Path, models: Models, options: DubOptions, frames: int | None, stages: Stages) -> None:
    """The self-dub without the frame selection of Algorithm 1 (paper, Table 4: w/o frame-selection)."""
    own = replace(options, exclude_window=max(options.exclude_window, EXCLUDE_WINDOW))
    generator = torch.Generator().manual_seed(options.seed)

    def choose(target: FaceGeometry) -> ReferenceSelection:
        usable = usable_frames(clip.geometry)
        lip = usable[torch.randperm(len(usable), generator=generator)[: own.lip_references]].sort().values
        rows = []
        for shown in target.source_frame.tolist():
            far = usable[(usable - shown).abs() >= own.exclude_window]
            pool = far if len(far) else usable
            rows.append(pool[torch.randint(len(pool), (own.face_references,), generator=generator)])
        return ReferenceSelection(lip, torch.stack(rows))

    _render(clip, clip.own, out, models, own, frames, stages, choose)


ROWS: dict[str, Row] = {
    "ground_truth": Row("ground truth", "own", None),
    "self_dub": Row("self-dub", "own", self_dub),
    "random_references": Row("self-dub, random references", "own", random_references),
    "cross_audio": Row("cross-audio", "foreign", cross_audio),
    "unchanged": Row("source mouth unchanged", "foreign", None),
}


def in_step(source: Path, target: Path, lag: float) -> Path:
    """Write a clip's own sound, moved so that it is in step with the picture, as 32-bit float WAV.

    Args:
        lag: frames at 25 fps by which the mouth comes later than its sound.
    """
    from scipy.io import wavfile

    sound = read_audio(source)
    shift = round(lag * sound.sample_rate / 25)
    samples = np.pad(sound.samples, ((0, 0), (shift, 0))) if shift >= 0 else sound.samples[:, -shift:]
    sound = AudioClip(samples, sound.sample_rate)
    target.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(str(target), sound.sample_rate, np.ascontiguousarray(sound.samples.T))
    return target


def _render(
    clip: QualityClip, audio: Path, out: Path, models: Models, options: DubOptions, frames: int | None, stages: Stages,
    choose: Callable[[FaceGeometry], ReferenceSelection] | None = None,
) -> None:  # fmt: skip
    out.parent.mkdir(parents=True, exist_ok=True)
    target = pipeline.animate(clip.geometry, audio, models, options, stages=stages)
    if frames is not None and frames < target.frame_count:
        target = replace(frames_of(target, range(frames)), audio=target.audio, reference=target.reference)
    references = choose(target) if choose else None
    pipeline.render(probe(clip.video), target, out, models, options, references=references, stages=stages)
