"""Why a clip is not trained on, one sentence each: the quality filter of data preparation (paper 4.1).

Picture: several faces, cuts, too small, too short, mostly turned away or covered. Sound: silence, music or
noise, out of sync. A clip with a fault of the picture is dropped; one with a fault of the sound can still
teach how a face looks.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...compose.crop import FACE_SHARE, crop_boxes
from ...config import MODEL_FPS, SAMPLE_RATE
from ...evaluation.metrics.landmark_distance import mouth_series
from ...evaluation.metrics.lip_sync_score import MIN_OVERLAP, HearOpening, sync_curve
from ...geometry.face_model import FaceModel
from ...speech.timeline import at_model_rate
from ...tracking.landmarks import FaceLandmarker
from ...tracking.search import distinct, search_frame
from ...types import FaceGeometry

MIN_SECONDS = 1.0
MIN_FACE_HEIGHT = 80.0  # pixels, chin to hairline: half of what it has in a 256 x 256 crop
MIN_USABLE = 0.5  # share of the frames
SEARCHED_FRAMES = 8  # frames of a clip that are searched for more faces
OTHER_SIZE = 0.5  # of the followed face's size, above which another face counts
OTHER_SHARE = 0.25  # of those frames
OTHER_SURE = 0.75  # score of the detector: wallpaper, flags and dolls were seen to reach 0.64
SEARCH_LEVELS = 2
SILENT_DB = -60.0  # loudness of the loudest twentieth below which a track is silent
SYLLABLES = (2.0, 8.0)  # Hz: how often speech swells and falls (Scheirer and Slaney 1997)
MIN_SWELL = 2.5  # dB, deviation of the loudness in that band; 185 clips with speech had 2.9 to 9
SYNC_REACH = 12  # frames at 25 fps by which sound may be off and still be corrected
MIN_SYNC = 0.35


@dataclass(frozen=True)
class ClipReadings:
    """What the filter measured once. other_faces: share of looked-at frames with another large face.  swell:
    dB. sync_r, sync_lag: at the best lag; all None where there is nothing to measure."""

    other_faces: float | None = None
    swell: float | None = None
    sync_r: float | None = None
    sync_lag: float | None = None


def picture_fault(geometry: FaceGeometry, face_model: FaceModel, readings: ClipReadings) -> str:
    """The first fault of the picture in one sentence, or an empty text."""
    seconds = float(geometry.times[-1] + geometry.durations[-1])
    if seconds < MIN_SECONDS:
        return f"too short: {seconds:.2f} s, at least {MIN_SECONDS:.0f} s are needed."
    cuts = int((geometry.shot.diff() != 0).sum())
    if cuts:
        first = float(geometry.times[1:][geometry.shot.diff() != 0][0])
        return f"cuts: {cuts}, the first at {first:.2f} s; split the video there."
    usable = float(geometry.usable.float().mean())
    if usable < MIN_USABLE:
        return (
            f"face not usable: {usable:.0%} of the frames show it from the front, uncovered and large "
            f"enough, {MIN_USABLE:.0%} are needed."
        )
    height = face_height(geometry, face_model)
    if height < MIN_FACE_HEIGHT:
        return f"too small: the face is {height:.0f} pixels high, at least {MIN_FACE_HEIGHT:.0f} are needed."
    if readings.other_faces is not None and readings.other_faces > OTHER_SHARE:
        return (
            f"several faces: another large one in {readings.other_faces:.0%} of the frames that were "
            "looked at."
        )
    return ""


def sound_fault(samples: np.ndarray, readings: ClipReadings) -> str:
    """The first fault of the sound (S,) at 16 kHz in one sentence, or an empty text."""
    if len(samples) == 0:
        return "no sound."
    if loudness(samples).max(initial=-np.inf) < SILENT_DB:
        return "silent: nothing is heard on the sound track."
    if readings.swell is not None and readings.swell < MIN_SWELL:
        return (
            f"music or noise only: loudness swells by {readings.swell:.1f} dB at the pace of syllables, "
            f"speech by {MIN_SWELL} or more."
        )
    if readings.sync_r is not None and readings.sync_r < MIN_SYNC:
        return (
            f"no sync: the mouth follows the sound with r = {readings.sync_r:.2f} at best, {MIN_SYNC} is "
            "needed (dubbed, or music)."
        )
    return ""


def face_height(geometry: FaceGeometry, face_model: FaceModel) -> float:
    """Median height of the face in pixels over usable frames."""
    return FACE_SHARE * float(crop_boxes(geometry, face_model).box[geometry.usable, 2].median())


def other_faces(
    frames: Iterable[np.ndarray],
    geometry: FaceGeometry,
    index: list[int],
    face_model: FaceModel,
    landmarker: FaceLandmarker,
) -> float:
    """Share of the looked-at frames (H, W, 3) uint8 that show another face at least OTHER_SIZE as large as
    the followed one.

    index: numbers of the frames; those without a usable face are passed over.
    """
    boxes = crop_boxes(geometry, face_model).box
    counted, crowded = 0, 0
    for number, frame in zip(index, frames, strict=True):
        if not bool(geometry.usable[number]):
            continue
        counted += 1
        x, y, side = boxes[number].tolist()
        height = FACE_SHARE * side
        for box in distinct(search_frame(landmarker, frame, levels=SEARCH_LEVELS)):
            away = float(np.hypot(box[0] - x, box[1] - y))
            large = box[2] > OTHER_SIZE * 0.7 * height  # the detector's box is about 0.7 of the height
            if box[3] > OTHER_SURE and away > height and large:
                crowded += 1
                break
    return crowded / counted if counted else 0.0


def searched_frames(frame_count: int) -> list[int]:
    """Numbers of the frames that are searched for more faces."""
    return sorted(set(np.linspace(0, frame_count - 1, SEARCHED_FRAMES).round().astype(int).tolist()))


def swell(samples: np.ndarray) -> float:
    """Deviation in dB of the loudness, of what changes 2 to 8 times a second: 4 to 10 in speech, less in held
    tones and noise."""
    level = loudness(samples)
    if len(level) < 50:
        return float("nan")
    level = np.maximum(level, np.quantile(level, 0.95) - 40.0)
    spectrum = np.fft.rfft(level - level.mean())
    hertz = np.fft.rfftfreq(len(level), 0.02)
    spectrum[(hertz < SYLLABLES[0]) | (hertz > SYLLABLES[1])] = 0
    return float(np.fft.irfft(spectrum, len(level)).std())


def loudness(samples: np.ndarray) -> np.ndarray:
    """Loudness in dB of full scale every 20 ms: (S,) at 16 kHz to (S // 320,)."""
    step = SAMPLE_RATE // 50
    power = np.square(samples[: len(samples) // step * step].astype(np.float64)).reshape(-1, step).mean(1)
    return 10 * np.log10(np.maximum(power, 1e-12))


def sync_of(
    samples: np.ndarray, geometry: FaceGeometry, face_model: FaceModel, hear: HearOpening
) -> tuple[float, float] | None:
    """Correlation of the opening seen with the opening heard at the best lag, and that lag; None where the
    clip is too short."""
    expression, usable = at_model_rate(geometry)
    frames = len(expression)
    if min(frames, int(usable.sum())) < MIN_OVERLAP + SYNC_REACH:
        return None
    sampled = geometry[torch.linspace(0, geometry.frame_count - 1, frames).round().long()]
    opening = mouth_series(_with_expression(sampled, expression), face_model)[0]
    curve = sync_curve(opening, hear(torch.from_numpy(samples), frames)[:frames], usable, max_lag=SYNC_REACH)
    return curve.best_r, float(curve.best_lag)


def _with_expression(geometry: FaceGeometry, expression: Tensor) -> FaceGeometry:
    return replace(geometry, expression=expression, durations=torch.full((len(expression),), 1 / MODEL_FPS))
