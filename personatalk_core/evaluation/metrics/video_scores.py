"""Score one dubbed video against its source and its sound: what ``evaluate`` prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ... import pipeline
from ...checks import check_shape
from ...compose.crop import crop_boxes, crop_points
from ...config import CROP_SIZE, DubOptions
from ...dubbing.progress import Progress
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
from .frame_pairing import pair_frames
from .landmark_distance import landmark_distance, leak, lip_landmarks, mouth_correlation, mouth_series
from .lip_closure import closure_rate, silence_score, silent_frames
from .lip_sync_score import HearOpening, correlation, hears_with, sync_curve
from .picture_scores import SourceLooks, picture_means, picture_scores
from .style_similarity import StyleMetric, style_similarity, window_styles
from .table import METRICS

OWN_SOUND_R = 0.9  # of the loudness over time: above, the output speaks the source's own sound
OWN_SOUND_LAG = 15  # frames by which it may have been shifted


def evaluate_video(
    output: Path,
    source: Path,
    audio: Path,
    models: Models,
    options: DubOptions,
    progress: Progress | None = None,
    *,
    judges: JudgeNetworks | None = None,
    hear: HearOpening | None = None,
    source_geometry: FaceGeometry | None = None,
    output_geometry: FaceGeometry | None = None,
    own_sound: bool | None = None,
    most_frames: int | None = None,
    first_frames: int | None = None,
    looks: SourceLooks | None = None,
) -> dict:
    """Score a dubbed video of any maker.

    Paper: 4.2.
    Args:
        output, source: the dubbed video and the one it was made from.
        audio:          the speech it was made with.
        models:         with the speech networks where ``sync_network_r`` is wanted.
        options:        ``length`` and ``face`` as the output was made with.
        judges:         from ``load_judges``, with networks of the user's for FID, LPIPS, CSIM and SyncScore;
            None: StyleSim's bundled encoder, and stand-ins under their own names for the others.
        hear:           what opening the sound asks for; None: the bundled linear judge, and beside it the
            speech networks.
        source_geometry, output_geometry: where they were estimated before.
        own_sound:      the output speaks the source's own sound, so that the source is the truth; None: found
            by comparing them.
        first_frames: look at the beginning of the output only, this many frames; None: at all of it.
        most_frames: compare the pixels of this many frames at most; None: of all. Motion and sound are always
            compared whole.
        looks: what was seen of the source before, for several outputs of one source; filled on the way.
    Returns:
        {"video", "source", "audio", "own_sound", "frames", "frames_compared", "metrics": {name of METRICS:
        float}, "sync_curve": {"lags", "r"}, "series": {"seen", "source", "heard"}, "styles": {"output",
        "source"}: StyleSim's vector of every two-second window}. A metric that does not apply is left out.
    Raises:
        MediaError, FaceError: a file cannot be read, has no face, or the videos do not belong together.
    """
    progress, judges = progress or Progress(), judges or load_judges(None)
    networks = (
        hears_with(models.speech, models.face_model) if models.speech is not None and hear is None else None
    )
    hear = hear or judges.sound or networks
    if hear is None:
        raise OptionsError("nothing hears the sound: pass models with the speech networks, or hear=.")
    made, given = probe(output), probe(source)
    if (made.width, made.height) != (given.width, given.height):
        raise MediaError(
            f"{output} is {made.width}x{made.height} but {source} is {given.width}x{given.height}; "
            "compare videos of one size."
        )
    sound = read_audio(audio)
    samples = torch.from_numpy(speech_samples(sound))
    truth = source_geometry or pipeline.estimate_geometry(given, Run(models, options, progress))
    seen = output_geometry or pipeline.estimate_geometry(made, Run(models, options, progress))
    check_shape("output geometry", seen.expression, made.frame_count, "E")
    shown = pair_frames(made, truth, sound.duration, options.length)[:first_frames]
    seen = seen[range(len(shown))]
    paired = replace(truth[shown], times=seen.times, durations=seen.durations)
    keep = (seen.usable & paired.usable).nonzero()[:, 0]
    if len(keep) == 0:
        raise FaceError(
            f"no frame of {output} shows a usable face together with its source; nothing can be compared."
        )
    if own_sound is None:
        own_sound = given.has_audio and same_sound(
            samples, torch.from_numpy(speech_samples(read_audio(source)))
        )
    metrics, curve, series = _motion_scores(seen, paired, samples, own_sound, hear, networks, models)
    metrics |= _lip_scores(seen, truth, shown, keep, own_sound, models)
    looks = SourceLooks() if looks is None else looks
    scores = picture_scores(
        made,
        given,
        seen,
        truth,
        shown,
        keep[:most_frames],
        models,
        judges,
        looks,
        progress.stage("comparing"),
    )
    metrics |= picture_means(scores, own_sound, judges, samples if judges.syncnet else None)
    metrics["shape_similarity"] = shape_similarity(seen.identity, truth.identity)
    if judges.style is not None and judges.style.config.face_model == models.face_model.sha256:
        metrics["style_sim"] = _style_sim(seen, truth, models, judges.style)
        styles = {
            name: _window_styles(g, models, judges.style) for name, g in (("output", seen), ("source", truth))
        }
    else:
        styles = {}
    return {
        "video": Path(output).name,
        "source": Path(source).name,
        "audio": Path(audio).name,
        "own_sound": bool(own_sound),
        "frames": len(shown),
        "frames_compared": len(keep),
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
    seen: FaceGeometry,
    paired: FaceGeometry,
    samples: Tensor,
    own: bool,
    hear: HearOpening,
    networks: HearOpening | None,
    models: Models,
) -> tuple[dict[str, float], dict, dict]:
    """Everything that needs geometry and sound only, at 25 fps."""
    face_model = models.face_model
    at_25, truth_at_25 = (_at_model_rate(g) for g in (seen, paired))
    frames = min(at_25.frame_count, truth_at_25.frame_count)
    at_25, truth_at_25 = (g[range(frames)] for g in (at_25, truth_at_25))
    opening, true_opening = mouth_series(at_25, face_model)[0], mouth_series(truth_at_25, face_model)[0]
    heard = hear(samples, frames)[:frames]
    valid = at_25.usable & truth_at_25.usable
    curve = sync_curve(opening, heard, valid, max_lag=min(12, max(1, frames - 21)))
    found = {"sync_r": curve.at(0), "sync_best_r": curve.best_r, "sync_lag": float(curve.best_lag)}
    if networks is not None:
        heard = networks(samples, frames)[:frames]  # hears better, which the series and the leak want
        other = sync_curve(opening, heard, valid, max_lag=min(12, max(1, frames - 21)))
        lag = float(other.best_lag)  # and finds lags better
        found |= {"sync_network_r": other.at(0), "sync_lag": lag, "sync_best_r": curve.at(other.best_lag)}
    if own:
        found |= mouth_correlation(at_25, truth_at_25, face_model)
        found["closure_rate"] = closure_rate(opening, true_opening)
        vertices = [canonical_vertices(g, face_model) for g in (at_25, truth_at_25)]
        found["silence_score"] = silence_score(
            *vertices, silent_frames(samples, frames) & valid, face_model.lips
        )
    else:
        found["leak"] = leak(opening[valid], true_opening[valid], heard[valid])
    rounded = {"seen": opening, "source": true_opening, "heard": heard}
    series = {name: [round(v, 5) for v in values.tolist()] for name, values in rounded.items()}
    return found, {"lags": curve.lags.tolist(), "r": [round(v, 4) for v in curve.r.tolist()]}, series


def _style_sim(seen: FaceGeometry, truth: FaceGeometry, models: Models, metric: StyleMetric) -> float:
    """StyleSim of the output and the whole source; NaN where one of them has no second of usable frames."""
    try:
        return style_similarity(seen, truth, models.face_model, metric)
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


def _lip_scores(
    seen: FaceGeometry, truth: FaceGeometry, shown: Tensor, keep: Tensor, own: bool, models: Models
) -> dict[str, float]:
    """LMD and jitter over all compared frames, in pixels of a 256 x 256 crop around the source's face."""
    box = CropBoxes(crop_boxes(truth, models.face_model).box[shown[keep]])
    of_frame = ((seen, keep), (truth, shown[keep]))
    lips, real = (
        lip_landmarks(
            crop_points(posed_vertices(g[rows], models.face_model), box, CROP_SIZE),
            models.face_model,
        )
        for g, rows in of_frame
    )
    found = {"jitter_ratio": jitter(lips) / max(jitter(real), 1e-6)}
    return found | ({"lmd": float(landmark_distance(lips, real).mean())} if own else {})
