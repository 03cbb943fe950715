"""Fits what ``speech/calibration.py`` needs: how a style says mean and spread, and speech of training people
to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from einops import einsum, rearrange
from torch import Tensor
from torch.nn import functional

from ...geometry.face_model import FaceModel
from ...speech.audio_encoder import clip_statistics
from ...speech.calibration import StyleCalibration
from ...speech.lip_sync import template_offsets
from ...speech.network import LipSyncNetwork
from ...speech.networks import SpeechNetworks
from .data import SpeechClip
from .losses import MouthMeasure, SpeechLosses, SpeechLossWeights

WINDOW_FRAMES = 75  # of a window of reference speech, where clips are that long
RIDGE = 1.0
PIECES_A_CLIP = 12  # at most; people with little material give fewer


@torch.no_grad()
def calibrate(
    networks: SpeechNetworks,
    clips: Sequence[SpeechClip],
    face_model: FaceModel,
    speakers: Sequence[str] = (),
    seed: int = 0,
) -> SpeechNetworks:
    """The networks with a style calibration, all trained weights unchanged.

    Args:
        clips:    of training people only, at least one.
        speakers: whose speech is kept, as features, to try styles on, one window each; where none of them is
            there, everybody's.
    """
    chosen = [c for c in clips if c.speaker in speakers] or list(clips)
    frames = min(WINDOW_FRAMES, max(c.frame_count for c in chosen))
    reference = {c.speaker: c for c in reversed(chosen) if c.frame_count >= frames}
    old = networks.lip_sync
    network = LipSyncNetwork(replace(old.config, reference=len(reference), reference_frames=frames)).to(
        old.basis.device
    )
    network.load_state_dict(
        {k: v for k, v in old.state_dict().items() if not k.startswith("calibration.")}, strict=False
    )
    calibration = cast(StyleCalibration, network.calibration)  # there is one, as there is reference speech
    calibration.speech.copy_(
        torch.stack([reference_features(reference[name], frames, networks) for name in sorted(reference)])
    )
    styles, statistics = style_examples(network, clips, seed)
    weight, bias = _ridge(styles, statistics)
    calibration.weight.copy_(weight)
    calibration.bias.copy_(bias)
    calibration.free.copy_(lip_free(face_model))
    slope = opening_slope(face_model)
    calibration.opening.copy_(slope)
    calibration.way.copy_(opening_way(slope, face_model))
    network.eval()
    ratios, shifts = usual(network, clips, face_model)
    calibration.usual_ratio.copy_(ratios)
    calibration.usual_shift.copy_(shifts)
    return SpeechNetworks(networks.audio_encoder, network)


def usual(
    network: LipSyncNetwork, clips: Sequence[SpeechClip], face_model: FaceModel
) -> tuple[Tensor, Tensor]:
    """How the reference speech differs, for the average training speaker, from what the style says: the ratio
    of spreads and the way between means, (E,) each. It is what the text does, not the style, and is left out
    of corrections."""
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for clip in clips:
        motion = clip.expression[clip.valid].to(network.basis.device)
        style = network.style(network.offsets(motion[None]))[0]
        template = template_offsets(clip.identity, face_model).to(style)
        spoken = cast(StyleCalibration, network.calibration).compare(network, style, template)
        found.setdefault(clip.speaker, []).append((spoken.ratio.log(), spoken.shift))
    means = [
        torch.stack([torch.stack(pair) for pair in pairs]).mean(0) for pairs in found.values()
    ]  # (2, E) a speaker
    ratio, shift = torch.stack(means).mean(0)
    return ratio.exp(), shift


def reference_features(clip: SpeechClip, frames: int, networks: SpeechNetworks) -> Tensor:
    """(frames, D): the middle of a clip as the encoder hears it."""
    encoder = networks.audio_encoder
    samples = torch.from_numpy(clip.samples).to(encoder.projection.weight.device)
    features = encoder(samples[None], 0, clip.frame_count, clip_statistics(encoder, samples))[0]
    begin = (clip.frame_count - frames) // 2
    return features[begin : begin + frames]


def style_examples(
    network: LipSyncNetwork, clips: Sequence[SpeechClip], seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Styles (N, D) of pieces of clips, and the mean and spread (N, 2 E) of these pieces; each piece once as
    it is and once livelier or stiller and on another face."""
    rng = np.random.default_rng(seed)
    styles, statistics = [], []
    for clip in clips:
        frames = clip.expression[clip.valid].to(network.basis.device)
        if len(frames) < 2:
            continue
        for _ in range(max(2, min(PIECES_A_CLIP, len(frames) // 40))):
            length = int(rng.integers(min(40, len(frames)), min(len(frames), 400) + 1))
            begin = int(rng.integers(len(frames) - length + 1))
            piece = frames[begin : begin + length]
            gain = np.exp(rng.normal(0, 0.25) + rng.normal(0, 0.08, piece.shape[1]))
            gain, shift = (torch.from_numpy(x).to(piece) for x in (gain, rng.normal(0, 0.2, piece.shape[1])))
            mean = piece.mean(0)
            for motion in (piece, mean + shift + gain * (piece - mean)):
                styles.append(network.style(network.offsets(motion[None]))[0])
                statistics.append(torch.cat((motion.mean(0), motion.std(0, correction=0))))
    return torch.stack(styles), torch.stack(statistics)


def lip_free(face_model: FaceModel) -> Tensor:
    """(E_low, E_low): the nearest shift, in vertices, that leaves the lips as far apart as they are, in every
    direction."""
    root = SpeechLosses(face_model, SpeechLossWeights()).root
    # the last pair is the corners
    gaps = rearrange(MouthMeasure(face_model).expression[:, :-1], "e p c -> (p c) e")
    way = torch.linalg.solve(root @ root.T, gaps.T)  # (E_low, K)
    return torch.eye(len(root)) - way @ torch.linalg.pinv(gaps @ way) @ gaps


def opening_slope(face_model: FaceModel) -> Tensor:
    """(E_low,): how much further the mouth of the mean face opens for each coefficient."""
    measure = MouthMeasure(face_model)
    gap = functional.normalize(measure.mean[:-1], dim=-1)  # from the lower lip to the upper
    return einsum(measure.expression[:, :-1], gap, "e p c, p c -> e") / len(gap)


def opening_way(slope: Tensor, face_model: FaceModel) -> Tensor:
    """(E_low,): of all changes that open the mouth by one, the one that moves the vertices least."""
    root = SpeechLosses(face_model, SpeechLossWeights()).root
    way = torch.linalg.solve(root @ root.T, slope)
    return way / (slope @ way)


def _ridge(inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (D, K) and bias (K,) of a linear map, least squares with a small penalty on standardised
    inputs."""
    centre, scale, middle = inputs.mean(0), inputs.std(0) + 1e-6, targets.mean(0)
    x = (inputs - centre) / scale
    weight = (
        torch.linalg.solve(x.T @ x + RIDGE * torch.eye(x.shape[1]).to(x), x.T @ (targets - middle))
        / scale[:, None]
    )
    return weight, middle - centre @ weight
