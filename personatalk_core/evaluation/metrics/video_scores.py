"""Score one dubbed video against its source and its sound: what ``evaluate`` prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ... import pipeline
from ...checks import check_shape
from ...compose.crop import crop_boxes, crop_points
from ...config import CROP_SIZE
from ...dubbing.run import Run
from ...errors import FaceError, MediaError, OptionsError
from ...geometry.vertices import canonical_vertices, posed_vertices
from ...media.audio_stream import read_audio, speech_samples
from ...media.video_reader import probe
from ...models import Models
from ...speech.timeline import at_model_rate
from ...types import CropBoxes, FaceGeometry
from ..judges.networks import JudgeNetworks, load_judges
from .feature_distance import shape_similarity
from .flicker import jitter
from .frame_pairing import VideoPair, pair_frames
from .landmark_distance import landmark_distance, leak, lip_landmarks, mouth_correlation, mouth_series
from .lip_closure import closure_rate, silence_score, silent_frames
from .lip_sync_score import HearOpening, correlation, hears_with, sync_curve
from .picture_scores import SourceCrops, picture_means, picture_scores
from .style_similarity import StyleMetric, style_similarity, window_styles
from .table import METRICS

OWN_SOUND_R = 0.9  # of the loudness over time: above, the output speaks the source's own sound
OWN_SOUND_LAG = 15  # frames by which it may have been shifted


@dataclass(frozen=True, eq=False)
class ComparisonOptions:
    """What is known of two videos beforehand, and how much of them is looked at.

    source_geometry, output_geometry: where they were estimated before; None: estimated now.
    own_sound:    the output speaks the source's own sound, so that the source is the truth; None: found by
        comparing them.
    first_frames: look at the beginning of the output only, this many frames; None: at all of it.
    most_frames:  compare the pixels of this many frames at most; None: of all. Motion and sound are always
        compared whole.
    source_crops: of the source, from earlier outputs of it; filled on the way.
    """

    source_geometry: FaceGeometry | None = None
    output_geometry: FaceGeometry | None = None
    own_sound: bool | None = None
    first_frames: int | None = None
    most_frames: int | None = None
    source_crops: SourceCrops | None = None


def evaluate_video(
    output: Path,
    source: Path,
    audio: Path,
    run: Run,
    judges: JudgeNetworks | None = None,
    options: ComparisonOptions | None = None,
) -> dict:
    """Score a dubbed video of any maker.

    Paper: 4.2.
    Args:
        output, source: the dubbed video and the one it was made from.
        audio:          the speech it was made with.
        run:            models, with the speech networks where ``sync_network_r`` is wanted; ``length`` and
            ``face`` as the output was made with.
        judges:         from ``load_judges``, with networks of the user's for FID, LPIPS, CSIM and SyncScore;
            None: the bundled ones, and stand-ins under their own names for the others.
        options:        what is known beforehand.
    Returns:
        {"video", "source", "audio", "own_sound", "frames", "frames_compared", "metrics": {name of METRICS:
        float}, "sync_curve": {"lags", "r"}, "series": {"seen", "source", "heard"}, "styles": {"output",
        "source"}: StyleSim's vector of every two-second window}. A metric that does not apply is left out.
    Raises:
        MediaError, FaceError: a file cannot be read, has no face, or the videos do not belong together.
        OptionsError: neither a judge nor the speech networks hear the sound.
    """
    options, judges, models = options or ComparisonOptions(), judges or load_judges(None), run.models
    networks = None if models.speech is None else hears_with(models.speech, models.face_model)
    hear = judges.sound or networks
    if hear is None:
        raise OptionsError("nothing hears the sound: pass models with the speech networks, or a judge.")
    # both videos, their sound and geometry
    output_video, source_video = probe(output), probe(source)
    if (output_video.width, output_video.height) != (source_video.width, source_video.height):
        raise MediaError(
            f"{output} is {output_video.width}x{output_video.height} but {source} is "
            f"{source_video.width}x{source_video.height}; compare videos of one size."
        )
    sound = read_audio(audio)
    samples = torch.from_numpy(speech_samples(sound))
    source_geometry = options.source_geometry or pipeline.estimate_geometry(source_video, run)
    output_geometry = options.output_geometry or pipeline.estimate_geometry(output_video, run)
    check_shape("output geometry", output_geometry.expression, output_video.frame_count, "E")
    # which frames belong together
    source_frame = pair_frames(output_video, source_geometry, sound.duration, run.options.length)
    source_frame = source_frame[: options.first_frames]
    output_geometry = output_geometry[range(len(source_frame))]
    pair = VideoPair(output_video, source_video, output_geometry, source_geometry, source_frame)
    frames = pair.comparable
    if len(frames) == 0:
        raise FaceError(
            f"no frame of {output} shows a usable face together with its source; nothing can be compared."
        )
    own_sound = options.own_sound
    if own_sound is None:
        own_sound = source_video.has_audio and same_sound(
            samples, torch.from_numpy(speech_samples(read_audio(source)))
        )
    # scores of motion, lips, pixels, identity and style
    metrics, curve, series = _motion_scores(pair, samples, own_sound, (hear, networks), models)
    metrics |= _lip_scores(pair, frames, own_sound, models)
    scores = picture_scores(
        pair,
        frames[: options.most_frames],
        models,
        judges,
        SourceCrops() if options.source_crops is None else options.source_crops,
        run.progress.stage("comparing"),
    )
    metrics |= picture_means(scores, own_sound, judges, samples if judges.syncnet else None)
    metrics["shape_similarity"] = shape_similarity(output_geometry.identity, source_geometry.identity)
    styles = {}
    if judges.style is not None and judges.style.config.face_model == models.face_model.sha256:
        metrics["style_sim"] = _style_sim(output_geometry, source_geometry, models, judges.style)
        styles = {
            name: _window_styles(geometry, models, judges.style)
            for name, geometry in (("output", output_geometry), ("source", source_geometry))
        }
    return {
        "video": Path(output).name,
        "source": Path(source).name,
        "audio": Path(audio).name,
        "own_sound": bool(own_sound),
        "frames": len(source_frame),
        "frames_compared": len(frames),
        "metrics": {
            name: metrics[name] for name in METRICS if name in metrics and metrics[name] == metrics[name]
        },
        "sync_curve": curve,
        "series": series,
        "styles": styles,
    }


def same_sound(first: Tensor, second: Tensor) -> bool:
    """Whether two recordings (S,) at 16 kHz are one, up to a shift of OWN_SOUND_LAG frames and a change of
    loudness."""
    frames = min(len(first), len(second)) // 640
    if frames < 2 * OWN_SOUND_LAG:
        return False
    a, b = (
        x[: frames * 640].reshape(frames, 640).square().mean(1).clamp_min(1e-10).log()
        for x in (first, second)
    )
    best = 0.0
    for lag in range(-OWN_SOUND_LAG, OWN_SOUND_LAG + 1):
        left, right = a[max(0, lag) : frames + min(0, lag)], b[max(0, -lag) : frames - max(0, lag)]
        best = max(best, correlation(left, right))
    return best > OWN_SOUND_R


def _motion_scores(
    pair: VideoPair,
    samples: Tensor,
    own_sound: bool,
    ears: tuple[HearOpening, HearOpening | None],
    models: Models,
) -> tuple[dict[str, float], dict, dict]:
    """Everything that needs geometry and sound only, at 25 fps. ears: the judge of the sync score, and the
    speech networks where there are any."""
    face_model, (hear, networks) = models.face_model, ears
    # both at 25 fps, equally long
    geometry, truth = _at_model_rate(pair.output_geometry), _at_model_rate(pair.truth)
    frames = min(geometry.frame_count, truth.frame_count)
    geometry, truth = geometry[range(frames)], truth[range(frames)]
    opening, true_opening = mouth_series(geometry, face_model)[0], mouth_series(truth, face_model)[0]
    heard = hear(samples, frames)[:frames]
    valid = geometry.usable & truth.usable
    # sync
    max_lag = min(12, max(1, frames - 21))
    curve = sync_curve(opening, heard, valid, max_lag=max_lag)
    found = {"sync_r": curve.at(0), "sync_best_r": curve.best_r, "sync_lag": float(curve.best_lag)}
    if networks is not None:
        heard = networks(samples, frames)[:frames]  # hears better, which the series and the leak want
        by_networks = sync_curve(opening, heard, valid, max_lag=max_lag)
        lag = by_networks.best_lag  # and finds lags better
        found |= {
            "sync_network_r": by_networks.at(0),
            "sync_lag": float(lag),
            "sync_best_r": curve.at(lag),
        }
    # against the source's own mouth
    if own_sound:
        found |= mouth_correlation(geometry, truth, face_model)
        found["closure_rate"] = closure_rate(opening, true_opening)
        vertices, true_vertices = (canonical_vertices(g, face_model) for g in (geometry, truth))
        silent = silent_frames(samples, frames) & valid
        found["silence_score"] = silence_score(vertices, true_vertices, silent, face_model.lips)
    else:
        found["leak"] = leak(opening[valid], true_opening[valid], heard[valid])
    rounded = {"seen": opening, "source": true_opening, "heard": heard}
    series = {name: [round(v, 5) for v in values.tolist()] for name, values in rounded.items()}
    return found, {"lags": curve.lags.tolist(), "r": [round(v, 4) for v in curve.r.tolist()]}, series


def _style_sim(output: FaceGeometry, source: FaceGeometry, models: Models, metric: StyleMetric) -> float:
    """StyleSim of the output and the whole source; NaN where one of them has no second of usable frames."""
    try:
        return style_similarity(output, source, models.face_model, metric)
    except FaceError:
        return float("nan")


def _window_styles(geometry: FaceGeometry, models: Models, metric: StyleMetric) -> list[list[float]]:
    """Figure 5's points: StyleSim's vector of every two-second window."""
    expression, usable = at_model_rate(geometry)
    found = window_styles(expression[:, : models.face_model.lower_count], usable, metric)
    return [[round(v, 5) for v in row] for row in found.tolist()]


def _at_model_rate(geometry: FaceGeometry) -> FaceGeometry:
    expression, usable = at_model_rate(geometry)
    frames = len(expression)
    resized = geometry[torch.linspace(0, geometry.frame_count - 1, frames).round().long()]
    return replace(resized, expression=expression, status=(~usable).to(torch.uint8))


def _lip_scores(pair: VideoPair, frames: Tensor, own_sound: bool, models: Models) -> dict[str, float]:
    """LMD and jitter over frames (K,), in pixels of a 256 x 256 crop around the source's face."""
    face_model, source_frame = models.face_model, pair.source_frame[frames]
    box = CropBoxes(crop_boxes(pair.source_geometry, face_model).box[source_frame])
    lips, true_lips = (
        lip_landmarks(crop_points(posed_vertices(geometry, face_model), box, CROP_SIZE), face_model)
        for geometry in (pair.output_geometry[frames], pair.source_geometry[source_frame])
    )
    found = {"jitter_ratio": jitter(lips) / max(jitter(true_lips), 1e-6)}
    return found | ({"lmd": float(landmark_distance(lips, true_lips).mean())} if own_sound else {})
