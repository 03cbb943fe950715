"""PersonaTalk in the paper's order (section 3, figure 2): one call a stage, each usable alone.

    video ─► track ─► fit ─► C_1:T ──► extract_style ─► S
                               │                        │
    speech ────────────────────┴──────► animate ◄───────┘ ─► G_tgt ─► render ─► F_tgt ─► write_dub

What the stages share (models, options, progress, cache) is a ``dubbing.run.Run``. Files, windows, memory and
resumption are in ``dubbing/``; the networks are ``speech/network.py`` and ``rendering/network.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from .config import DubOptions, FaceChoice
from .dubbing.frame_renderer import FrameRenderer
from .dubbing.oom_fallback import speak_with_oom_fallback
from .dubbing.progress import Progress
from .dubbing.run import Dubbing, OutputFiles, Run, decoded_speech
from .dubbing.write_dub import write_dub
from .errors import MediaError
from .geometry import fitting
from .media.audio_stream import SpeechSamples
from .media.timing import make_timeline
from .media.video_reader import VideoReader
from .models import Models
from .rendering.references import ReferenceOptions, select_references
from .speech import style as speaking_style
from .speech.lip_sync import SpeechWindows, generate_geometry
from .tracking.track import track_face
from .types import DubReport, FaceGeometry, FaceTrack, ReferenceSelection, StyleEmbedding, VideoInfo
from .weights.checkpoint import sha256_of


def dub(
    video: Path | str,
    audio: Path | str,
    out: Path | str | OutputFiles,
    models: Models,
    options: DubOptions | None = None,
    *,
    style: StyleEmbedding | None = None,
    progress: Progress | None = None,
) -> DubReport:
    """Make the person in ``video`` speak the words in ``audio``.

    Paper: section 3, figure 2.
    Args:
        video, audio: input files; ``audio`` may be a video with sound.
        out:          video to write, or :class:`OutputFiles`; it appears only when it is complete.
        models:       networks from :func:`personatalk_core.models.load_models`.
        options:      user choices; None takes the defaults.
        style:        another speaking style; None keeps the person's own.
        progress:     shows how far each stage is; may raise to cancel.
    Returns:
        What happened to each frame.
    Raises:
        MediaError, FaceError, OptionsError, WeightsError: one sentence each, no half file.
    """
    run = Run(models, (options or DubOptions()).verify(), progress or Progress())
    with Dubbing.open(video, audio, out, run, style) as dubbing:
        run, clip = dubbing.run, dubbing.clip
        geometry = estimate_geometry(clip, run)  # C_1:T, eq. 1 and 2
        style = style or extract_style(geometry, run)  # S
        target = animate(geometry, dubbing.speech, run, style)  # G_tgt, eq. 3
        frames = render(clip, target, run)  # F_tgt, eq. 3 and 4: frames as they are asked for
        return write_dub(frames, dubbing.out, run)


def estimate_geometry(clip: VideoInfo, run: Run) -> FaceGeometry:
    """Track and fit: C_1:T of the paper (3.1, hybrid geometry estimation), kept in the run's cache."""
    return run.cached_geometry("geometry", lambda: fit(clip, track(clip, run), run))


def track(clip: VideoInfo, run: Run) -> FaceTrack:
    """Follow one face through a video (paper 4.1: MediaPipe landmarks)."""
    choice, on_progress = FaceChoice.parse(run.options.face), run.progress.stage("tracking")
    with run.models.open_landmarker() as landmarker:
        frames = VideoReader(clip).clip_frames()
        return track_face(frames, choice, landmarker=landmarker, on_progress=on_progress, cache=run.cache)


def fit(clip: VideoInfo, track: FaceTrack, run: Run) -> FaceGeometry:
    """Fit the face model to a track of the clip (paper 3.1, eq. 1 and 2)."""
    start, face_model = None, run.models.face_model
    if run.models.initializer is not None:  # Deng et al.'s network of a user's
        from .dubbing.initial_coefficients import network_start

        on_progress = run.progress.stage("initial coefficients")
        start = network_start(clip, track, run.models.initializer, face_model, on_progress)
    on_progress = run.progress.stage("geometry")
    geometry = fitting.estimate_geometry(
        track, face_model, start=start, on_progress=on_progress, cache=run.cache
    )
    times, durations = (torch.from_numpy(x).double() for x in (clip.times, clip.durations))
    return replace(geometry, times=times, durations=durations)


def extract_style(
    geometries: FaceGeometry | Sequence[FaceGeometry],
    run: Run,
    name: str = "own style",
    thumbnail: bytes = b"",
) -> StyleEmbedding:
    """S of the paper (3.1) from one or more clips of one person; thumbnail: JPEG bytes for style cards."""
    clips = [geometries] if isinstance(geometries, FaceGeometry) else list(geometries)
    for clip in clips:
        run.models.check_face_model("The geometry", clip.face_model)
    speech, face_model = run.models.need_speech(), run.models.face_model
    return speaking_style.extract_style(clips, speech, face_model, name=name, thumbnail=thumbnail)


def animate(
    geometry: FaceGeometry, speech: Path | str | SpeechSamples, run: Run, style: StyleEmbedding | None = None
) -> FaceGeometry:
    """Lip-synced geometry G_tgt of the paper (3.1): the words of ``speech`` (a sound file, or its samples) on
    the clip's own geometry C_1:T, in the given or the person's own style."""
    run.models.check_face_model("The geometry", geometry.face_model)
    with decoded_speech(speech) as samples:
        timeline = make_timeline(geometry, samples.duration, run.options.length)
        style = style or extract_style(geometry, run)
        run.models.check_face_model("The style", style.face_model)
        networks, face_model = run.models.need_speech(), run.models.face_model
        vector = speaking_style.style_vector(style, networks, run.options.style_strength)
        on_progress = run.progress.stage("speech to geometry")
        target, warnings = speak_with_oom_fallback(
            partial(generate_geometry, geometry, samples, vector, face_model=face_model, timeline=timeline),
            networks,
            SpeechWindows(on_progress=on_progress, cache=run.cache),
        )
    run.progress.warnings.extend(warnings)
    source = samples.source
    return replace(target, audio=(str(source.resolve()), sha256_of(source)), reference=geometry)


def render(
    clip: VideoInfo, target: FaceGeometry, run: Run, references: ReferenceSelection | None = None
) -> FrameRenderer:
    """Dual-attention rendering of the target geometry (paper 3.2): an iterator of frames, made as they are
    asked for.

    Args:
        clip:       the source video.
        target:     from :func:`animate`; its ``reference`` is the source's own geometry.
        references: another choice of references than Algorithm 1's.
    Raises:
        MediaError: the geometry belongs to another video.
    """
    run.models.check_face_model("The geometry", target.face_model)
    source = target.reference or target
    if source.source and source.source != clip.sha256:
        raise MediaError(
            f"The geometry was made from another video than {clip.path} (sha256 differs); pass the video "
            "it was estimated from."
        )
    choice = ReferenceOptions.of(run.options)
    references = references or select_references(source, run.models.face_model, target.source_frame, choice)
    return FrameRenderer(clip, target, references, run)
