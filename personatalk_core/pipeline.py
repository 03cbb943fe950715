"""The whole method, one call a stage, in the paper's order. Each stage is also usable alone and gives the
same result."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from .compose.crop import LANCZOS, crop_boxes, crop_image
from .config import DubOptions, FaceChoice
from .dubbing.frame_renderer import RenderedFrame, render_to_file
from .dubbing.initial_coefficients import network_start
from .dubbing.oom_fallback import speak_within_memory
from .dubbing.progress import Progress
from .dubbing.run_cache import cache_beside, identity_of, run_inputs
from .errors import FaceModelMismatchError, MediaError
from .evaluation.metrics.reconstruction import reconstruction_report
from .geometry.fitting import estimate_geometry
from .geometry.geometry_file import load_geometry, save_geometry
from .media.audio_stream import AudioStream, SpeechSamples, write_speech
from .media.timing import make_timeline
from .media.video_reader import VideoReader, probe
from .models import Models
from .rendering.references import ReferenceOptions, select_references
from .speech.lip_sync import SpeechWindows, generate_geometry
from .speech.style import extract_style, style_vector
from .tracking.landmarks import FaceLandmarker
from .tracking.track import track_face
from .types import (
    Cache,
    DubReport,
    FaceGeometry,
    FaceTrack,
    ReferenceSelection,
    StyleEmbedding,
    VideoInfo,
)
from .weights.checkpoint import sha256_of


def dub(
    video: Path,
    audio: Path,
    out: Path,
    models: Models,
    options: DubOptions,
    *,
    style: StyleEmbedding | None = None,
    mask_out: Path | None = None,
    progress: Progress | None = None,
    work: Path | None = None,
    resume: bool = True,
) -> DubReport:
    """Make the person in ``video`` speak the words in ``audio``.

    Paper: section 3, figure 2.
    Args:
        video, audio: input files; ``audio`` may be a video with sound.
        out:          file to write; it appears only when it is complete.
        models:       networks from :func:`personatalk_core.models.load_models`.
        options:      verified user choices.
        style:        another speaking style; None keeps the person's own.
        mask_out:     optional video of the changed pixels.
        work:         folder in which finished windows are kept until the output is complete; None: a hidden
            one beside it.
        resume:       leave finished windows there when something goes wrong; the same call then goes on from
            them.
    Returns:
        What happened to each frame.
    Raises:
        MediaError, FaceError, OptionsError, WeightsError: one sentence each, no half file.
    """
    progress = progress or Progress()
    options.verify()
    check_target(out, options)
    warned = len(progress.warnings)
    info = probe(video)
    sound = AudioStream(audio)
    inputs = {
        "video": info.sha256,
        "audio": sha256_of(audio),
        "style": identity_of(style),
        "mask": mask_out and mask_out.suffix,
    }
    with cache_beside(
        out, run_inputs("dub", out, models, options, **inputs), folder=work, keep=resume
    ) as cache:
        speech = write_speech(sound, cache.path("speech.f32"))  # refuses bad sound before the long work
        geometry = geometry_of_video(info, models, options, progress, cache)
        target = animate(
            geometry, audio, models, options, style=style, progress=progress, speech=speech, cache=cache
        )
        report = render(info, target, out, models, options, mask_out=mask_out, progress=progress, cache=cache)
    report.warnings.extend([*progress.warnings[warned:], *cache.remarks])
    return report


def track_video(
    info: VideoInfo, models: Models, options: DubOptions, progress: Progress, cache: Cache | None = None
) -> FaceTrack:
    """Follow one face through a video (paper 4.1: MediaPipe landmarks); ``cache`` keeps how far it came."""
    with FaceLandmarker(models.landmarker) as landmarker:
        return track_face(
            VideoReader(info).clip_frames(),
            FaceChoice.parse(options.face),
            landmarker=landmarker,
            on_progress=progress.stage("tracking"),
            cache=cache,
        )


def geometry_of_video(
    info: VideoInfo, models: Models, options: DubOptions, progress: Progress, cache: Cache | None = None
) -> FaceGeometry:
    """Track and fit: C_{1:T} of the paper (3.1, hybrid geometry estimation). ``cache`` keeps finished
    windows, then the whole."""
    kept = cache and cache.path("geometry.safetensors")
    if kept and kept.is_file():
        return load_geometry(kept, models.face_model)
    geometry = geometry_of_track(
        info, track_video(info, models, options, progress, cache), models, progress, cache
    )
    if kept:
        save_geometry(kept, geometry)
    return geometry


def geometry_of_track(
    info: VideoInfo, track: FaceTrack, models: Models, progress: Progress, cache: Cache | None = None
) -> FaceGeometry:
    """Fit the face model to a track of ``info``'s video (paper 3.1, eq. 1 and 2)."""
    start = None
    if models.initializer is not None:
        start = network_start(
            info, track, models.initializer, models.face_model, progress.stage("initial coefficients")
        )
    geometry = estimate_geometry(
        track, models.face_model, start=start, on_progress=progress.stage("geometry"), cache=cache
    )
    return replace(
        geometry,
        times=torch.from_numpy(info.times).double(),
        durations=torch.from_numpy(info.durations).double(),
    )


def style_of(
    geometries: Sequence[FaceGeometry], name: str, models: Models, thumbnail: bytes = b""
) -> StyleEmbedding:
    """S of the paper (3.1) from one or more clips of one person."""
    for geometry in geometries:
        check_face_model(geometry, models)
    return extract_style(list(geometries), models.speech, models.face_model, name=name, thumbnail=thumbnail)


def animate(
    geometry: FaceGeometry,
    audio: Path,
    models: Models,
    options: DubOptions,
    *,
    style: StyleEmbedding | None = None,
    progress: Progress | None = None,
    speech: SpeechSamples | None = None,
    cache: Cache | None = None,
) -> FaceGeometry:
    """Lip-synced geometry G^tgt of the paper (3.1): the words of ``audio``, in the given or the person's own
    style.

    ``speech`` is what the speech stages hear of ``audio`` where it was decoded already; ``cache`` keeps
    finished windows.
    """
    progress = progress or Progress()
    check_face_model(geometry, models)
    if speech is None:
        with tempfile.TemporaryDirectory() as folder:  # the sound of an hour is a file, too
            speech = write_speech(AudioStream(audio), Path(folder) / "speech.f32")
            return animate(
                geometry, audio, models, options, style=style, progress=progress, speech=speech, cache=cache
            )
    timeline = make_timeline(geometry, speech.duration, options.length)
    if style is None:
        style = style_of([geometry], "own style", models)
    elif style.face_model != models.face_model.sha256:
        raise FaceModelMismatchError(_mismatch("The style", style.face_model, models))
    on_progress = progress.stage("speech to geometry")
    target, warnings = speak_within_memory(
        models.speech,
        lambda networks, frames: generate_geometry(
            geometry,
            speech,
            style_vector(style, networks, options.style_strength),
            networks,
            models.face_model,
            timeline,
            SpeechWindows(frames, on_progress, cache),
        ),
    )
    progress.warnings.extend(warnings)
    return replace(target, audio=(str(Path(audio).resolve()), sha256_of(audio)), reference=geometry)


def render(
    info: VideoInfo,
    target: FaceGeometry,
    out: Path,
    models: Models,
    options: DubOptions,
    *,
    audio: Path | None = None,
    mask_out: Path | None = None,
    references: ReferenceSelection | None = None,
    progress: Progress | None = None,
    cache: Cache | None = None,
    work: Path | None = None,
    resume: bool = True,
) -> DubReport:
    """Dual-attention rendering of the target geometry and paste-back (paper 3.2), streamed from file to file.

    Args:
        info:       the source video.
        target:     from :func:`animate`; its ``reference`` is the source's own geometry.
        audio:      sound of the output; None takes the file ``target`` was made from.
        references: another choice of references than Algorithm 1's.
        cache:      keeps finished segments; None: a working folder as :func:`dub` makes it by ``work`` and
            ``resume``.
    Raises:
        MediaError: the geometry belongs to another video, or its sound has moved or changed.
    """
    progress = progress or Progress()
    check_target(out, options)
    check_face_model(target, models)
    source = target.reference or target
    if source.source and source.source != info.sha256:
        raise MediaError(
            f"The geometry was made from another video than {info.path} (sha256 differs); pass the "
            "video it was estimated from."
        )
    sound = _sound_of(target, audio)
    if cache is None:
        more = {
            "video": info.sha256,
            "audio": sound and sha256_of(sound.path),
            "mask": mask_out and mask_out.suffix,
        }
        more |= {"geometry": identity_of(target), "references": identity_of(references)}
        with cache_beside(
            out, run_inputs("render", out, models, options, **more), folder=work, keep=resume
        ) as cache:
            given = {"audio": audio, "mask_out": mask_out, "references": references, "progress": progress}
            report = render(info, target, out, models, options, cache=cache, **given)
        report.warnings.extend(cache.remarks)
        return report
    if references is None:
        references = _references(source, target, models, options)
    return render_to_file(
        info,
        source,
        target,
        references,
        sound,
        out,
        models,
        options,
        cache,
        mask_out=mask_out,
        on_frame=progress.picture,
        on_progress=progress.stage("rendering"),
    )


def reconstruct(
    video: Path, out: Path, models: Models, options: DubOptions, *, progress: Progress | None = None
) -> DubReport:
    """Render a video's own geometry from references at least ``options.exclude_window`` frames away: the
    renderer's self-test.

    Returns:
        A report whose ``metrics`` are those of :func:`evaluation.reconstruction.reconstruction_report`,
        averaged over frames (``detail_lips``: median), measured on the crops the renderer works on, before
        pasting.
    """
    progress = progress or Progress()
    check_target(out, options)
    info = probe(video)
    geometry = geometry_of_video(info, models, options, progress)
    rows: list[dict[str, float]] = []

    def measure(item: RenderedFrame) -> None:
        size = item.crop.shape[-1]
        truth = (
            torch.from_numpy(crop_image(item.frame, item.box, size, LANCZOS)).permute(2, 0, 1).float() / 255
        )  # (3, R, R)
        rows.append(
            reconstruction_report(item.crop[None], truth[None], item.source_points[None], models.face_model)
        )

    references = _references(geometry, geometry, models, options)
    sound = AudioStream(video) if info.has_audio else None
    inputs = run_inputs("reconstruct", out, models, options, video=info.sha256)
    with cache_beside(out, inputs, keep=False) as cache:  # every frame must be measured
        report = render_to_file(
            info,
            geometry,
            geometry,
            references,
            sound,
            out,
            models,
            options,
            cache,
            whole_face=True,
            observe=measure,
            on_progress=progress.stage("rendering"),
        )
    for name in rows[0] if rows else ():
        values = np.array([row[name] for row in rows])
        report.metrics[name] = float(
            np.nanmedian(values) if name.startswith("detail") else np.nanmean(values)
        )
    report.metrics["frames"] = float(len(rows))
    return report


def thumbnail_of(info: VideoInfo, geometry: FaceGeometry, models: Models, size: int = 128) -> bytes:
    """The face of the first usable frame as JPEG bytes, for style cards; empty when no frame is usable."""
    usable = geometry.usable.nonzero()[:, 0].tolist()
    if not usable:
        return b""
    frame = next(iter(VideoReader(info).frames(usable[:1])))
    picture = crop_image(frame, crop_boxes(geometry, models.face_model).box[usable[0]], size)
    return cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])[
        1
    ].tobytes()


def _references(
    source: FaceGeometry, target: FaceGeometry, models: Models, options: DubOptions
) -> ReferenceSelection:
    choice = ReferenceOptions(options.lip_references, options.face_references, options.exclude_window)
    return select_references(source, models.face_model, target.source_frame, choice)


def check_target(out: Path, options: DubOptions) -> None:
    """Refuse an output path that cannot work, before any work is done."""
    out = Path(out)
    allowed = (".mp4", ".mov", ".mkv")
    if out.suffix.lower() not in allowed:
        raise MediaError(f"Output {out} ends in '{out.suffix}' but expected one of {', '.join(allowed)}.")
    if out.is_dir():
        raise MediaError(f"Output {out} is a folder but expected a file name.")


def check_face_model(geometry: FaceGeometry, models: Models) -> None:
    """Refuse geometry of another face model. Raises FaceModelMismatchError."""
    if geometry.face_model != models.face_model.sha256:
        raise FaceModelMismatchError(_mismatch("The geometry", geometry.face_model, models))


def _mismatch(what: str, identity: str, models: Models) -> str:
    return (
        f"{what} was made with face model {identity[:12]} but {models.face_model.sha256[:12]} is loaded; "
        "make it again with this face model or load the one it was made with."
    )


def _sound_of(target: FaceGeometry, audio: Path | None) -> AudioStream | None:
    path, digest = target.audio
    if audio is not None:
        return AudioStream(audio)
    if not path:
        return None
    if not Path(path).is_file():
        raise MediaError(
            f"The speech {path} that the geometry was made from is gone; pass the sound with --audio."
        )
    if sha256_of(Path(path)) != digest:
        raise MediaError(
            f"The speech {path} has changed since the geometry was made from it; run animate again or "
            "pass the sound with --audio."
        )
    return AudioStream(Path(path))
