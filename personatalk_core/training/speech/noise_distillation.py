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
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...evaluation.benchmark.sound_disturbances import DISTURBANCES, disturb
from ...geometry.face_model import FaceModel
from ...speech.lip_sync import template_offsets
from ...speech.networks import SpeechNetworks
from ...types import OnProgress
from ..distributed import OneProcess
from ..state import resume_run, save_run
from .augmentation import change_voice, roughen_sound
from .clips import SpeechClip
from .data import CONTEXT, window_sound
from .losses import MouthMeasure, SpeechLosses, SpeechLossWeights
from .scores import ClipScore, clip_style, predict_clip, score_clip, speaker_mean

CHECKED_DECIBELS = 10.0
KEPT = ("best_state", "step", "best", "bad", "history")


@dataclass(frozen=True)
class HearingTraining:
    """Knobs of the stage. steps: 0 leaves it out; batch, frames: of windows; rate: peak learning rate; clean:
    share of windows with nothing beneath them; motion: weight of the motion beside the features; average:
    share of the moving average that a step keeps; check_every: steps between validations; patience:
    validations without gain before stopping; decibels: speech over noise, least and most."""

    steps: int = 0
    batch: int = 8
    frames: int = 75
    rate: float = 8e-5
    clean: float = 0.35
    motion: float = 1.0
    average: float = 0.98
    check_every: int = 50
    patience: int = 5
    decibels: tuple[float, float] = (0.0, 20.0)


@dataclass(frozen=True, eq=False)
class HeardPair:
    """clean, noisy (B, S): the same windows with CONTEXT samples to either side; style (B, D); template (B,
    L, 3)."""

    clean: Tensor
    noisy: Tensor
    style: Tensor
    template: Tensor


class HearingTrainer:
    """Teaches the encoder of trained networks; the lip-sync network is not changed. Resumable as
    ``SpeechTrainer`` is."""

    def __init__(
        self,
        networks: SpeechNetworks,
        face_model: FaceModel,
        training: Sequence[SpeechClip],
        validation: Sequence[SpeechClip],
        options: HearingTraining,
        folder: Path,
        seed: int = 0,
        processes: OneProcess | None = None,
    ) -> None:
        self.processes = processes or OneProcess()
        self.options, self.face_model, self.folder, self.seed = options, face_model, Path(folder), seed
        self.training, self.validation = list(training), list(validation)
        device = self.processes.device
        self.lip_sync = networks.lip_sync.to(device).eval().requires_grad_(False)
        self.teacher = copy.deepcopy(networks.audio_encoder).to(device).eval().requires_grad_(False)
        self.model = (
            copy.deepcopy(networks.audio_encoder).to(device).eval()
        )  # dropout is not wanted: the teacher has none
        for parameter in self.model.backbone.parameters():
            parameter.requires_grad_(False)
        for parameter in self.model.backbone.attending_parameters():  # as in fine-tuning
            parameter.requires_grad_(True)
        self.average = copy.deepcopy(self.model)
        self.root = SpeechLosses(face_model, SpeechLossWeights()).root.to(device)
        self.measure = MouthMeasure(face_model)
        learned = [p for p in self.model.parameters() if p.requires_grad]
        self.optimiser = self.processes.prepare(torch.optim.AdamW(learned, lr=options.rate, weight_decay=0.0))
        self.styles = [clip_style(clip, networks) for clip in self.training]
        self.templates = [template_offsets(clip.identity, face_model) for clip in self.training]
        frames = {c.speaker: 0 for c in self.training}
        for clip in self.training:
            frames[clip.speaker] += clip.frame_count
        share = np.array([clip.frame_count * frames[clip.speaker] ** -0.5 for clip in self.training])
        self.share = share / share.sum()
        self.step, self.best, self.bad = 0, -1.0, 0
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] | None = None

    def run(self, on_progress: OnProgress | None = None) -> SpeechNetworks:
        """Teach for the steps of the options; returns the networks with the encoder that hears held-out
        speakers best."""
        resume_run(self, self.folder, KEPT)
        options, running = self.options, 0.0
        if self.step == 0:
            self._check(float("nan"))
        while self.step < options.steps and self.bad < options.patience:
            pair = self.pairs(self.step * self.processes.count + self.processes.rank)
            running = 0.95 * running + 0.05 * self._train_step(pair)
            self.step += 1
            if self.step % options.check_every == 0 or self.step == options.steps:
                self._check(running)
            if on_progress is not None:
                on_progress(self.step, options.steps)
        if self.best_state is not None:
            self.average.load_state_dict(self.best_state)
        return SpeechNetworks(self.average.eval(), self.lip_sync)

    def pairs(self, step: int) -> HeardPair:
        """The windows of a step, the same for the same seed and step."""
        rng = np.random.default_rng((self.seed, 1, step))
        options, device = self.options, self.processes.device
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
        return HeardPair(*(x.to(device) for x in (torch.stack(clean), torch.stack(noisy), style, template)))

    def loss(self, pair: HeardPair) -> Tensor:
        """How far what is heard through noise is from what is heard without, in shares of what there is to
        hear."""
        frames = self.options.frames
        with torch.no_grad():
            wanted = self.teacher(pair.clean, CONTEXT, frames)
            motion = self.lip_sync(wanted, pair.style, pair.template) @ self.root
        heard = self.model(pair.noisy, CONTEXT, frames)
        moved = self.lip_sync(heard, pair.style, pair.template) @ self.root
        features = functional.mse_loss(heard, wanted) / (wanted.var(dim=(0, 1)).mean() + 1e-6)
        spread = (motion - motion.mean(1, keepdim=True)).square().mean((1, 2), keepdim=True) + 1e-3
        return features + self.options.motion * ((moved - motion).square() / spread).mean()

    def _train_step(self, pair: HeardPair) -> float:
        done = self.step / self.options.steps
        rate = (
            self.options.rate
            * min(1.0, (self.step + 1) / 20)
            * (0.05 + 0.475 * (1 + float(np.cos(np.pi * done))))
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.loss(pair)
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.descend(loss, [p for p in self.model.parameters() if p.requires_grad], 1.0)
        self.optimiser.step()
        keep = min(self.options.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
        return float(loss.detach())

    def _check(self, running: float) -> None:
        """Opening and width on held-out speakers, clean and over each disturbance; clean and the mean of the
        others choose."""
        networks = SpeechNetworks(self.average.eval(), self.lip_sync)
        entry, values = {"step": self.step, "total": running}, []
        for kind in (None, *DISTURBANCES):
            scores = [self._score(clip, kind, networks) for clip in self.validation]
            row = {name: speaker_mean(scores, name) if scores else 0.0 for name in ("opening_r", "width_r")}
            entry |= {f"{kind or 'clean'}_{name}": value for name, value in row.items()}
            values.append(row["opening_r"] + 0.5 * row["width_r"])
        self.history.append(entry)
        value = values[0] + sum(values[1:]) / len(DISTURBANCES) if self.validation else float(self.step)
        if value >= self.best:
            self.best, self.bad, self.best_state = value, 0, copy.deepcopy(self.average.state_dict())
        else:
            self.bad += 1
        if self.processes.rank == 0:
            save_run(self, self.folder, KEPT)

    def _score(self, clip: SpeechClip, kind: str | None, networks: SpeechNetworks) -> ClipScore:
        heard = clip
        if kind is not None:
            others = [c.samples for c in self.validation if c is not clip] or [clip.samples[::-1]]
            heard = replace(clip, samples=disturb(clip.samples, kind, CHECKED_DECIBELS, others))
        predicted = predict_clip(heard, networks, self.face_model, clip_style(clip, networks))
        return score_clip(clip, predicted, self.measure)
