"""The last stage of ``train speech``: the encoder learns from itself to hear through noise.

A frozen copy of the encoder hears a window as it was recorded, the learner hears it with something beneath
it, and is taught to give the same features and, through the frozen lip-sync network, the same motion. That
asks for no label, so fits and lags cannot mislead it, and clean windows among the noisy ones keep what it
knew. After noisy-student and self-distillation training of speech recognisers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...evaluation.studies.sound_disturbances import DISTURBANCES, disturb
from ...geometry.face_model import FaceModel
from ...speech.audio_encoder import AudioEncoder
from ...speech.lip_sync import template_offsets
from ...speech.networks import SpeechNetworks
from ..data.hold_out import frames_by_speaker
from ..distributed import Distributed
from ..trainer import LoopOptions, TrainingTask, Validation, warmup_cosine
from .augmentation import change_voice, roughen_sound
from .data import CONTEXT, SpeechClip, window_sound
from .losses import MouthMeasure, SpeechLosses, SpeechLossWeights
from .scores import ClipScore, clip_style, predict_clip, score_clip, speaker_mean

CHECKED_DECIBELS = 10.0
WARMUP = 20  # steps


@dataclass(frozen=True)
class DistillationTraining:
    """Options of the stage. steps: 0 leaves it out; batch, frames: of windows; lr: peak learning rate; clean:
    share of windows with nothing beneath them; motion: weight of the motion beside the features; ema: share
    of the averaged weights that a step keeps; check_every: steps between validations; patience: validations
    without gain before stopping; decibels: speech over noise, least and most."""

    steps: int = 0
    batch: int = 8
    frames: int = 75
    lr: float = 8e-5
    clean: float = 0.35
    motion: float = 1.0
    ema: float = 0.98
    check_every: int = 50
    patience: int = 5
    decibels: tuple[float, float] = (0.0, 20.0)

    @property
    def loop(self) -> LoopOptions:
        """What the trainer needs of them."""
        return LoopOptions(self.steps, self.check_every, self.ema, self.patience, check_start=True)


@dataclass(frozen=True, eq=False)
class NoisyPair:
    """clean, noisy (B, S): the same windows with CONTEXT samples to either side; style (B, D); template (B,
    L, 3)."""

    clean: Tensor
    noisy: Tensor
    style: Tensor
    template: Tensor


class DistillationTask(TrainingTask[AudioEncoder, NoisyPair]):
    """Teaches the encoder of trained networks; the networks given are not changed."""

    def __init__(
        self,
        networks: SpeechNetworks,
        face_model: FaceModel,
        training: Sequence[SpeechClip],
        validation: Sequence[SpeechClip],
        options: DistillationTraining,
        seed: int = 0,
        distributed: Distributed | None = None,
    ) -> None:
        self.distributed = distributed or Distributed()
        self.options, self.face_model, self.seed = options, face_model, seed
        self.training, self.validation = list(training), list(validation)
        device = self.distributed.device
        self.lip_sync = networks.lip_sync.to(device).eval().requires_grad_(False)
        self.teacher = copy.deepcopy(networks.audio_encoder).to(device).eval().requires_grad_(False)
        self.model = copy.deepcopy(networks.audio_encoder).to(device).eval()
        self.model.backbone.requires_grad_(False)
        for parameter in self.model.backbone.attending_parameters():  # as in fine-tuning
            parameter.requires_grad_(True)
        self.root = SpeechLosses(face_model, SpeechLossWeights()).root.to(device)
        self.measure = MouthMeasure(face_model)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(learning, lr=options.lr, weight_decay=0.0)
        self.schedules = [warmup_cosine(options.steps, WARMUP)]
        self.styles = [clip_style(clip, networks) for clip in self.training]
        self.templates = [template_offsets(clip.identity, face_model) for clip in self.training]
        frames = frames_by_speaker((clip.speaker, clip.frame_count) for clip in self.training)
        share = np.array([clip.frame_count * frames[clip.speaker] ** -0.5 for clip in self.training])
        self.share = share / share.sum()

    def begin_step(self, step: int) -> None:
        self.model.eval()  # no dropout, as the teacher has none

    def batch(self, number: int) -> NoisyPair:
        rng = np.random.default_rng((self.seed, 1, number))
        options, device = self.options, self.distributed.device
        chosen = rng.choice(len(self.training), options.batch, p=self.share)
        clean, noisy = [], []
        for index in chosen:
            clip = self.training[int(index)]
            room = clip.frame_count - options.frames
            first = rng.uniform(min(0.0, room), max(0.0, room))
            sound = window_sound(clip, first, options.frames, rng.uniform(0.9, 1.1))
            if rng.random() < 0.5:
                sound = change_voice(sound, float(np.clip(np.exp(rng.normal(0, 0.14)), 0.7, 1.4)))
            clean.append(torch.from_numpy(sound))
            others = [self.training[int(k)].samples for k in rng.integers(len(self.training), size=8)]
            decibels = None if rng.random() < options.clean else rng.uniform(*options.decibels)
            noisy.append(torch.from_numpy(roughen_sound(sound, rng, others, decibels)))
        style, template = (torch.stack([x[int(k)] for k in chosen]) for x in (self.styles, self.templates))
        return NoisyPair(*(x.to(device) for x in (torch.stack(clean), torch.stack(noisy), style, template)))

    def loss(self, batch: NoisyPair) -> tuple[Tensor, dict[str, Tensor]]:
        """How far what is heard through noise is from what is heard without, in shares of what there is to
        hear: of the features, and of the motion that they give."""
        frames = self.options.frames
        with torch.no_grad():
            target = self.teacher(batch.clean, CONTEXT, frames)
            target_motion = self.lip_sync(target, batch.style, batch.template) @ self.root
        features = self.model(batch.noisy, CONTEXT, frames)
        motion = self.lip_sync(features, batch.style, batch.template) @ self.root
        feature_loss = functional.mse_loss(features, target) / (target.var(dim=(0, 1)).mean() + 1e-6)
        spread = (target_motion - target_motion.mean(1, keepdim=True)).square().mean((1, 2), keepdim=True)
        motion_loss = ((motion - target_motion).square() / (spread + 1e-3)).mean()
        terms = {"features": feature_loss, "motion": motion_loss}
        return feature_loss + self.options.motion * motion_loss, terms

    def validate(self, model: AudioEncoder) -> Validation:
        """Opening and width on held-out speakers, clean and over each disturbance; clean and the mean of the
        others choose."""
        networks = self.result(model)
        found: dict[str, float] = {}
        values = []
        for kind in (None, *DISTURBANCES):
            scores = [self.score(clip, kind, networks) for clip in self.validation]
            row = {name: speaker_mean(scores, name) if scores else 0.0 for name in ("opening_r", "width_r")}
            found |= {f"{kind or 'clean'}_{name}": value for name, value in row.items()}
            values.append(row["opening_r"] + 0.5 * row["width_r"])
        value = values[0] + sum(values[1:]) / len(DISTURBANCES)
        return Validation(found, value if self.validation else None)

    def score(self, clip: SpeechClip, kind: str | None, networks: SpeechNetworks) -> ClipScore:
        """How well the mouth follows a clip's sound with a disturbance beneath it; None: as it is."""
        heard = clip
        if kind is not None:
            others = [c.samples for c in self.validation if c is not clip] or [clip.samples[::-1]]
            heard = replace(clip, samples=disturb(clip.samples, kind, CHECKED_DECIBELS, others))
        predicted = predict_clip(heard, networks, self.face_model, clip_style(clip, networks))
        return score_clip(clip, predicted, self.measure)

    def result(self, model: AudioEncoder) -> SpeechNetworks:
        """The networks with a trained encoder."""
        return SpeechNetworks(model.eval(), self.lip_sync)
