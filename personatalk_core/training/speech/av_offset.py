"""How far sound and picture of a clip are apart, found without any trained mouth: the clips teach each other.

A ridge regression from the pretrained encoder's features to mouth opening is fitted on other speakers' clips
(in folds of speakers); the shift at which its prediction correlates best with what was seen is the clip's
lag. Three times, because a fit profits from the corrections before it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from ...evaluation.judges.speech_ridge import ridge_features, shift_between
from ...speech.audio_encoder import AudioEncoder
from .data import SpeechClip
from .losses import MouthMeasure

RIDGE = 2e4
FOLDS = 5
ROUNDS = 3
MIN_CLIPS = 3


@torch.inference_mode()
def estimate_lags(clips: list[SpeechClip], encoder: AudioEncoder, measure: MouthMeasure) -> list[SpeechClip]:
    """The clips with their lag filled in; unchanged where there are too few clips to teach each other."""
    if len(clips) < MIN_CLIPS:
        return clips
    features = [ridge_features(torch.from_numpy(c.samples), c.frame_count, encoder).numpy() for c in clips]
    opening = [measure(clip.expression[None], clip.identity[None])[0][0].numpy() for clip in clips]
    lags = np.array([clip.lag for clip in clips])
    for _ in range(ROUNDS):
        before = lags.copy()
        for fold in folds(clips):
            weights = _fit([i for i in range(len(clips)) if i not in fold], clips, features, opening, before)
            for i in fold:
                lags[i] = shift_between(weights(features[i]), opening[i], clips[i].valid.numpy())
    return [replace(clip, lag=float(lag)) for clip, lag in zip(clips, lags, strict=True)]


def folds(clips: list[SpeechClip]) -> list[set[int]]:
    """Clip numbers in up to FOLDS groups that share no speaker; with a single speaker, groups of clips."""
    speakers = sorted({clip.speaker for clip in clips})
    owner = [speakers.index(clip.speaker) if len(speakers) > 1 else i for i, clip in enumerate(clips)]
    groups = [{i for i, o in enumerate(owner) if o % FOLDS == k} for k in range(FOLDS)]
    return [group for group in groups if 0 < len(group) < len(clips)]


def _fit(
    teachers: list[int],
    clips: list[SpeechClip],
    features: list[np.ndarray],
    opening: list[np.ndarray],
    lags: np.ndarray,
) -> Callable[[np.ndarray], np.ndarray]:
    """Ridge regression from features (T, K) to opening (T,), every clip's opening scaled to unit spread."""
    x, y = [], []
    for i in teachers:
        frames = np.arange(len(opening[i]))
        heard = frames - int(round(lags[i]))
        use = clips[i].valid.numpy() & (heard >= 0) & (heard < len(frames))
        x.append(features[i][heard[use]])
        y.append((opening[i][use] - opening[i][use].mean()) / (opening[i][use].std() + 1e-6))
    inputs, targets = np.concatenate(x), np.concatenate(y)
    mean, scale = inputs.mean(0), inputs.std(0) + 1e-6
    inputs = (inputs - mean) / scale
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ targets)
    return lambda heard: ((heard - mean) / scale) @ weights
