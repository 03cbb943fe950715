"""The rows of the quality table: how each makes a video from a source clip. Every row is a function of one
:class:`QualityClip`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ... import pipeline
from ...dubbing.run import Run
from ...errors import FaceModelMismatchError, WeightsError
from ...media.audio_stream import read_audio, speech_samples
from ...media.video_reader import probe
from ...rendering.references import usable_frames
from ...speech.audio_encoder import AudioEncoder
from ...speech.timeline import at_model_rate, frames_to_cover, interpolate_frames
from ...types import AudioClip, FaceGeometry, ReferenceSelection
from ..judges.speech_ridge import SpeechRidge, ridge_features
from .nearest_mouth import nearest_mouths, paste_nearest_mouths
from .renderer_ablations import (
    FACE_ATTENTION_ONLY,
    LIP_ATTENTION_ONLY,
    WITHOUT_GEOMETRIC_START,
    ablated,
)

EXCLUDE_WINDOW = 12  # a self-dub never samples the pixels it is compared with


@dataclass(frozen=True, eq=False)
class QualityClip:
    """One source: video, its geometry, its own sound in step with the picture, the sound of another clip, and
    how many of its first frames are dubbed (None: all)."""

    video: Path
    geometry: FaceGeometry
    own: Path
    foreign: Path
    frames: int | None = None

    def beginning(self, frames: int | None, seconds: float | None = None) -> QualityClip:
        """The same, of which only the first frames or seconds are dubbed; None: all."""
        if seconds is not None:
            frames = max(1, int((self.geometry.times < seconds - 1e-6).sum()))
        return replace(self, frames=frames)


@dataclass(frozen=True, eq=False)
class RowTools:
    """What rows share: a run, and the ridge regression with the encoder it was fitted on, Moonshine-tiny as
    released (``talking_clips.load_judge``); None without that encoder's file."""

    run: Run
    ridge: tuple[SpeechRidge, AudioEncoder] | None = None

    def with_options(self, **changed: object) -> RowTools:
        """The same with other options of a dub."""
        return replace(self, run=replace(self.run, options=replace(self.run.options, **changed)))

    def apart(self) -> RowTools:
        """The same for a self-dub: references at least EXCLUDE_WINDOW frames away."""
        return self.with_options(exclude_window=max(self.run.options.exclude_window, EXCLUDE_WINDOW))


@dataclass(frozen=True)
class Row:
    """title; audio: which sound it speaks; make(clip, out, tools) writes the video, None: it is the source.
    table: 1 or 4 of the paper, where it belongs; 0: neither."""

    title: str
    audio: str
    make: Callable[[QualityClip, Path, RowTools], None] | None
    table: int = 1


def reconstruction(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The renderer alone: the true geometry from references at least EXCLUDE_WINDOW frames away, lower face
    pasted as in a dub."""

    def keep(target: FaceGeometry) -> FaceGeometry:
        return replace(target, expression=clip.geometry.expression[target.source_frame])

    _render(clip, clip.own, out, tools.apart(), change=keep)


def self_dub(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The clip's own words; references at least EXCLUDE_WINDOW frames away (paper, Table 1)."""
    _render(clip, clip.own, out, tools.apart())


def cross_audio(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """Another clip's words: what a dub is for, and where copying the source's mouth is found out."""
    _render(clip, clip.foreign, out, tools)


def random_references(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub without the frame selection of Algorithm 1 (paper, Table 4: w/o frame-selection)."""
    tools = tools.apart()
    options = tools.run.options
    generator = torch.Generator().manual_seed(options.seed)

    def choose(target: FaceGeometry) -> ReferenceSelection:
        usable = usable_frames(clip.geometry)
        lip = usable[torch.randperm(len(usable), generator=generator)[: options.lip_references]].sort().values
        rows = []
        for shown in target.source_frame.tolist():
            far = usable[(usable - shown).abs() >= options.exclude_window]
            pool = far if len(far) else usable
            rows.append(pool[torch.randint(len(pool), (options.face_references,), generator=generator)])
        return ReferenceSelection(lip, torch.stack(rows))

    _render(clip, clip.own, out, tools, choose=choose)


def without_style(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub in the average speaker's style (paper, Table 4: w/o style embedding)."""
    _render(clip, clip.own, out, tools.apart().with_options(style_strength=0.0))


def without_face_attention(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub with Lip-Attention alone (paper, Table 4)."""
    _render(clip, clip.own, out, _ablated(tools.apart(), LIP_ATTENTION_ONLY))


def without_lip_attention(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub with Face-Attention alone (paper, Table 4)."""
    _render(clip, clip.own, out, _ablated(tools.apart(), FACE_ATTENTION_ONLY))


def without_geometric_start(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub whose attention does not know mouth shape and head pose: this project's own addition taken
    away."""
    _render(clip, clip.own, out, _ablated(tools.apart(), WITHOUT_GEOMETRIC_START))


def ridge_speech(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub with the lower face by ridge regression on a pretrained encoder's features, about the
    person's own mean mouth."""
    models = tools.run.models
    if tools.ridge is None:
        raise WeightsError(
            "the ridge regression hears with Moonshine-tiny as released; pass its encoder with "
            "--pretrained FILE."
        )
    ridge, encoder = tools.ridge
    if ridge.face_model != models.face_model.sha256:
        raise FaceModelMismatchError(
            "The ridge regression was fitted to another face model; fit it again with training.speech_ridge."
        )

    def speak(target: FaceGeometry) -> FaceGeometry:
        times, durations = target.times.double(), target.durations.double()
        samples = torch.from_numpy(speech_samples(read_audio(clip.own)))
        features = ridge_features(samples, frames_to_cover(times, durations), encoder)
        known, usable = at_model_rate(clip.geometry)
        lower = models.face_model.lower_count
        motion = ridge(features)[2] + known[usable, :lower].mean(dim=0)
        expression = target.expression.clone()
        expression[:, :lower] = interpolate_frames(motion, times, durations).to(expression.dtype)
        return replace(target, expression=expression)

    _render(clip, clip.own, out, tools.apart(), change=speak)


def nearest_mouth(clip: QualityClip, out: Path, tools: RowTools) -> None:
    """The self-dub's geometry, shown by pasting the source frame with the nearest mouth at least
    EXCLUDE_WINDOW frames away."""
    face_model, target = tools.run.models.face_model, _target(clip, clip.own, tools)
    window = tools.apart().run.options.exclude_window
    chosen = nearest_mouths(target, clip.geometry, face_model, window)
    sound = read_audio(clip.own)
    paste_nearest_mouths(probe(clip.video), clip.geometry, target, chosen, sound, out, face_model)


ROWS: dict[str, Row] = {
    "ground_truth": Row("ground truth", "own", None),
    "reconstruction": Row("renderer alone (true geometry)", "own", reconstruction),
    "self_dub": Row("self-dub", "own", self_dub),
    "cross_audio": Row("cross-audio", "foreign", cross_audio),
    "unchanged": Row("source mouth unchanged", "foreign", None),
    "nearest_mouth": Row("nearest-mouth frame paste", "own", nearest_mouth),
    "ridge_speech": Row("ridge-regression speech", "own", ridge_speech),
    "without_style": Row("w/o style embedding", "own", without_style, 4),
    "without_face_attention": Row("w/o face-attention", "own", without_face_attention, 4),
    "without_lip_attention": Row("w/o lip-attention", "own", without_lip_attention, 4),
    "random_references": Row("w/o frame-selection (random references)", "own", random_references, 4),
    "without_geometric_start": Row("w/o geometric start of attention", "own", without_geometric_start, 4),
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


def _ablated(tools: RowTools, changes: dict[str, object]) -> RowTools:
    models = tools.run.models
    renderer = ablated(models.need_renderer(), **changes)
    return replace(tools, run=replace(tools.run, models=replace(models, renderer=renderer)))


def _target(clip: QualityClip, audio: Path, tools: RowTools) -> FaceGeometry:
    """The clip's first frames speaking."""
    target = pipeline.animate(clip.geometry, audio, tools.run)
    if clip.frames is not None and clip.frames < target.frame_count:
        target = replace(target[range(clip.frames)], audio=target.audio, reference=target.reference)
    return target


def _render(
    clip: QualityClip,
    audio: Path,
    out: Path,
    tools: RowTools,
    *,
    choose: Callable[[FaceGeometry], ReferenceSelection] | None = None,
    change: Callable[[FaceGeometry], FaceGeometry] | None = None,
) -> None:
    target = _target(clip, audio, tools)
    target = change(target) if change else target
    references = choose(target) if choose else None
    frames = pipeline.render(probe(clip.video), target, tools.run, references)
    pipeline.write_dub(frames, out, tools.run)
