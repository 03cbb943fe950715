"""The training loop of the speech stage: encoder fine-tuned, everything else learned, resumable after a
kill."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ...geometry.face_model import FaceModel
from ...speech.audio_encoder import AudioEncoder
from ...speech.lip_sync import template_offsets
from ...speech.network import LipSyncNetwork
from ...speech.networks import SpeechNetworks
from ...types import OnProgress
from ..distributed import OneProcess
from ..state import resume_run, save_run
from .augmentation import face_mirror
from .clips import SpeechClip
from .data import SpeechBatch, WindowSampler
from .losses import MouthMeasure, SpeechLosses, SpeechLossWeights
from .noise_distillation import HearingTraining
from .scores import clip_style, predict_clip, score_clip, speaker_mean

KEPT = (
    "best_state",
    "step",
    "best",
    "bad",
    "history",
)  # what a resumed run goes on from, beside its networks and optimiser


@dataclass(frozen=True)
class SpeechTraining:
    """Knobs of the recipe; ``speech_recipe.json`` holds those of the bundled weights.

    steps, batch, frames (of a window); encoder_rate and rate: peak learning rates of the backbone and of the
    rest; frozen_steps: steps before the backbone learns; its convolutions never do, as is usual for HuBERT;
    decay: weight decay; average: share of the moving average of weights that a step keeps; check_every: steps
    between validations; patience: validations without gain before stopping; dropout: in the attention layers;
    feature_dropout: share of audio features left out at a step; half: bfloat16 inside the audio encoder,
    float32 elsewhere; style: False trains without one, for the ablation; hold_out: speakers kept for
    validation, drawn by ``held_out_share`` where none is named; hearing: the stage after this loop;
    reference: speakers whose speech styles are calibrated on, everybody's where none of them is there.
    """

    steps: int = 1000
    batch: int = 8
    frames: int = 100
    rate: float = 1e-3
    encoder_rate: float = 1e-4
    frozen_steps: int = 100
    decay: float = 0.05
    average: float = 0.995
    check_every: int = 100
    patience: int = 6
    seed: int = 0
    dropout: float = 0.25
    feature_dropout: float = 0.1
    half: bool = True
    style: bool = True
    hold_out: tuple[str, ...] = ()
    held_out_share: float = 0.2
    loss: SpeechLossWeights = SpeechLossWeights()
    hearing: HearingTraining = HearingTraining()
    reference: tuple[str, ...] = ()


class SpeechTrainer:
    """Holds the networks, their moving average, the optimiser and the history; one call trains to the end."""

    def __init__(
        self,
        networks: SpeechNetworks,
        face_model: FaceModel,
        training: list[SpeechClip],
        validation: list[SpeechClip],
        options: SpeechTraining,
        folder: Path,
        processes: OneProcess | None = None,
    ) -> None:
        self.processes = processes or OneProcess()
        torch.manual_seed(options.seed + self.processes.rank)
        self.options, self.face_model, self.validation, self.folder = (
            options,
            face_model,
            validation,
            Path(folder),
        )
        self.model = nn.ModuleDict(
            {"audio_encoder": networks.audio_encoder, "lip_sync": networks.lip_sync}
        ).to(self.processes.device)
        self.processes.share(self.model.parameters())
        self.average = copy.deepcopy(self.model).eval()
        self.training_clips = training
        self.losses = SpeechLosses(face_model, options.loss).to(self.processes.device)
        self.measure = MouthMeasure(face_model)
        self.sampler = WindowSampler(
            training, self.measure, options.frames, seed=options.seed, mirror=face_mirror(face_model)
        )
        pretrained = list(networks.audio_encoder.backbone.parameters())
        self.fine_tuned = list(networks.audio_encoder.backbone.attending_parameters())
        known = {id(p) for p in pretrained}
        for parameter in pretrained:
            parameter.requires_grad_(False)
        rest = [p for p in self.model.parameters() if id(p) not in known]
        groups = [
            {"params": rest, "top": options.rate, "waits": 0},
            {"params": self.fine_tuned, "top": options.encoder_rate, "waits": options.frozen_steps},
        ]
        self.optimiser = self.processes.prepare(torch.optim.AdamW(groups, weight_decay=options.decay))
        self.step, self.best, self.bad = 0, -1.0, 0
        self.history: list[dict[str, float]] = []
        self.best_state: dict[str, Tensor] | None = None

    def run(self, on_progress: OnProgress | None = None) -> SpeechNetworks:
        """Train until the steps are done or validation stops improving. Returns the best averaged
        networks."""
        self._resume()
        options = self.options
        running: dict[str, float] = {}
        while self.step < options.steps and self.bad < options.patience:
            batch = self.sampler.batch(options.batch, self.step * self.processes.count + self.processes.rank)
            terms = self._train_step(batch.to(self.processes.device))
            running = {k: 0.95 * running.get(k, v) + 0.05 * v for k, v in terms.items()}
            self.step += 1
            if self.step % options.check_every == 0 or self.step == options.steps:
                self._check(running)
            if on_progress is not None:
                on_progress(self.step, options.steps)
        if self.best_state is not None:
            self.average.load_state_dict(self.best_state)
        networks = SpeechNetworks(self.average["audio_encoder"].eval(), self.average["lip_sync"].eval())
        set_average_style(networks, self.training_clips)
        return networks

    def _train_step(self, batch: SpeechBatch) -> dict[str, float]:
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = group["top"] * self._schedule(group["waits"])
        loss, terms = self.loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        self.processes.descend(loss, self.model.parameters(), 1.0)
        self.optimiser.step()
        keep = min(self.options.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
        return {name: float(value.detach()) for name, value in terms.items()} | {
            "total": float(loss.detach())
        }

    def loss(self, batch: SpeechBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of a batch; every other clip also speaks in its neighbour's style for the style term."""
        encoder: AudioEncoder = self.model["audio_encoder"]
        network: LipSyncNetwork = self.model["lip_sync"]
        for parameter in self.fine_tuned:
            parameter.requires_grad_(self.step >= self.options.frozen_steps)
        with self.processes.precision(self.options.half):
            audio = encoder(batch.samples, batch.origin, batch.expression.shape[1])
        audio = functional.dropout(audio.float(), self.options.feature_dropout)
        style = network.style(network.offsets(batch.style_expression), batch.style_weight) * float(
            self.options.style
        )
        template = torch.stack([template_offsets(i, self.face_model) for i in batch.identity.cpu()]).to(
            audio.device
        )
        predicted = network(audio, style, template)
        terms = self.losses(
            predicted, batch.expression, batch.valid, batch.silent, batch.closed, batch.identity, batch.weight
        )
        swapped = network(audio.detach(), style.roll(1, 0), template)
        speech = batch.valid * (1 - batch.silent)
        terms["style"] = self.losses.style(
            swapped, speech, batch.style_expression.roll(1, 0), batch.style_weight.roll(1, 0)
        )
        return self.losses.total(terms), terms

    def _schedule(self, begin: int) -> float:
        """Zero until ``begin``, linear warm-up, then cosine to a twentieth."""
        if self.step < begin:
            return 0.0
        warm = min(1.0, (self.step - begin + 1) / 50)
        done = self.step / self.options.steps
        return warm * (0.05 + 0.95 * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * done)))))

    def _check(self, running: dict[str, float]) -> None:
        self.average.eval()
        networks = SpeechNetworks(self.average["audio_encoder"], self.average["lip_sync"])
        style = None if self.options.style else torch.zeros(self.average["lip_sync"].config.width)
        scores = [
            score_clip(c, predict_clip(c, networks, self.face_model, style), self.measure)
            for c in self.validation
        ]
        entry = {"step": self.step, **running}
        for field in ("opening_r", "width_r", "closed_recall", "opening_gain"):
            entry[field] = speaker_mean(scores, field) if scores else 0.0
        self.history.append(entry)
        value = entry["opening_r"] + 0.5 * entry["width_r"] if scores else float(self.step)
        if value > self.best:
            self.best, self.bad = value, 0
            self.best_state = copy.deepcopy(self.average.state_dict())
        else:
            self.bad += 1
        self._save()

    def _save(self) -> None:
        if self.processes.rank == 0:
            save_run(self, self.folder, KEPT)

    def _resume(self) -> None:
        resume_run(self, self.folder, KEPT)


def set_average_style(networks: SpeechNetworks, clips: list[SpeechClip]) -> None:
    """Store the mean style over speakers as the average speaker's."""
    per: dict[str, list[Tensor]] = {}
    for clip in clips:
        per.setdefault(clip.speaker, []).append(clip_style(clip, networks))
    average = torch.stack([torch.stack(v).mean(0) for v in per.values()]).mean(0)
    networks.lip_sync.style.average.copy_(average)
