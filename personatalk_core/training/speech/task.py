"""What training the speech stage is: the encoder fine-tuned, everything else learned."""

from __future__ import annotations

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
from ..data.hold_out import HELD_OUT_SHARE
from ..distributed import Distributed
from ..trainer import LoopOptions, TrainingTask, Validation, warmup_cosine
from .augmentation import face_mirror
from .data import SpeechBatch, SpeechClip, WindowSampler
from .losses import MouthMeasure, SpeechLosses, SpeechLossWeights
from .noise_distillation import DistillationTraining
from .scores import clip_style, predict_clip, score_clip, speaker_mean

BUNDLED_RECIPE = Path(__file__).with_name("recipe.json")
WARMUP = 50  # steps
CHECKED = ("opening_r", "width_r", "closed_recall", "opening_gain")


@dataclass(frozen=True)
class SpeechTraining:
    """Options of the recipe; ``recipe.json`` holds those of the bundled weights.

    steps, batch, frames (of a window); encoder_lr and lr: peak learning rates of the backbone and of the
    rest; frozen_steps: steps before the backbone learns; its convolutions never do, as is usual for HuBERT;
    ema: share of the averaged weights that a step keeps; check_every: steps between validations; patience:
    validations without gain before stopping; dropout: in the attention layers; feature_dropout: share of
    audio features left out at a step; half: bfloat16 inside the audio encoder, float32 elsewhere; style:
    False trains without one, for the ablation; hold_out: speakers kept for validation, drawn by
    ``held_out_share`` where none is named; noise_distillation: the stage after this one; reference: speakers
    whose speech styles are calibrated on, everybody's where none of them is there.
    """

    steps: int = 1000
    batch: int = 8
    frames: int = 100
    lr: float = 1e-3
    encoder_lr: float = 1e-4
    frozen_steps: int = 100
    weight_decay: float = 0.05
    ema: float = 0.995
    check_every: int = 100
    patience: int = 6
    seed: int = 0
    dropout: float = 0.25
    feature_dropout: float = 0.1
    half: bool = True
    style: bool = True
    hold_out: tuple[str, ...] = ()
    held_out_share: float = HELD_OUT_SHARE
    loss: SpeechLossWeights = SpeechLossWeights()
    noise_distillation: DistillationTraining = DistillationTraining()
    reference: tuple[str, ...] = ()

    @property
    def loop(self) -> LoopOptions:
        """What the trainer needs of them."""
        return LoopOptions(self.steps, self.check_every, self.ema, self.patience)


class SpeechTask(TrainingTask["SpeechModel", SpeechBatch]):
    """Both networks of the speech stage.

    Args:
        training, validation: clips; no validation need be there.
    """

    def __init__(
        self,
        networks: SpeechNetworks,
        face_model: FaceModel,
        training: list[SpeechClip],
        validation: list[SpeechClip],
        options: SpeechTraining,
        distributed: Distributed | None = None,
    ) -> None:
        self.distributed = distributed or Distributed()
        device = self.distributed.device
        torch.manual_seed(options.seed + self.distributed.rank)
        self.options, self.face_model = options, face_model
        self.training, self.validation = training, validation
        self.model = SpeechModel(networks.audio_encoder, networks.lip_sync).to(device)
        self.distributed.broadcast(self.model.parameters())
        self.losses = SpeechLosses(face_model, options.loss).to(device)
        self.measure = MouthMeasure(face_model)
        self.sampler = WindowSampler(
            training, self.measure, options.frames, seed=options.seed, mirror=face_mirror(face_model)
        )
        # the backbone's convolutions stay as they are, the rest of it learns later and more slowly
        backbone = self.model.audio_encoder.backbone.requires_grad_(False)
        self.fine_tuned = list(backbone.attending_parameters())
        pretrained = {id(p) for p in backbone.parameters()}
        groups = [
            {"params": [p for p in self.model.parameters() if id(p) not in pretrained], "lr": options.lr},
            {"params": self.fine_tuned, "lr": options.encoder_lr},
        ]
        self.optimiser = torch.optim.AdamW(groups, weight_decay=options.weight_decay)
        self.schedules = [
            warmup_cosine(options.steps, WARMUP),
            warmup_cosine(options.steps, WARMUP, begin=options.frozen_steps),
        ]

    def batch(self, number: int) -> SpeechBatch:
        return self.sampler.batch(self.options.batch, number).to(self.distributed.device)

    def begin_step(self, step: int) -> None:
        self.model.train()
        for parameter in self.fine_tuned:
            parameter.requires_grad_(step >= self.options.frozen_steps)

    def loss(self, batch: SpeechBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of a batch; every clip also speaks in its neighbour's style for the style term."""
        network = self.model.lip_sync
        with self.distributed.autocast(self.options.half):
            audio = self.model.audio_encoder(batch.samples, batch.origin, batch.expression.shape[1])
        audio = functional.dropout(audio.float(), self.options.feature_dropout)
        style = network.style(network.offsets(batch.style_expression), batch.style_weight)
        style = style * float(self.options.style)
        template = torch.stack([template_offsets(i, self.face_model) for i in batch.identity.cpu()])
        template = template.to(audio.device)
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

    def validate(self, model: SpeechModel) -> Validation:
        """Opening and width on held-out speakers choose."""
        networks = model.networks()
        style = None if self.options.style else torch.zeros(networks.lip_sync.config.width)
        scores = [
            score_clip(c, predict_clip(c, networks, self.face_model, style), self.measure)
            for c in self.validation
        ]
        means = {name: speaker_mean(scores, name) if scores else 0.0 for name in CHECKED}
        return Validation(means, means["opening_r"] + 0.5 * means["width_r"] if scores else None)

    def result(self, model: SpeechModel) -> SpeechNetworks:
        """The networks of a trained model, with the average style of who was trained on."""
        networks = model.networks()
        set_average_style(networks, self.training)
        return networks


class SpeechModel(nn.Module):
    """Both networks as one, so that they are averaged and saved together."""

    def __init__(self, audio_encoder: AudioEncoder, lip_sync: LipSyncNetwork) -> None:
        super().__init__()
        self.audio_encoder, self.lip_sync = audio_encoder, lip_sync

    def networks(self) -> SpeechNetworks:
        """The networks, in eval mode."""
        return SpeechNetworks(self.audio_encoder.eval(), self.lip_sync.eval())


def set_average_style(networks: SpeechNetworks, clips: list[SpeechClip]) -> None:
    """Store the mean style over speakers as the average speaker's."""
    per: dict[str, list[Tensor]] = {}
    for clip in clips:
        per.setdefault(clip.speaker, []).append(clip_style(clip, networks))
    average = torch.stack([torch.stack(v).mean(0) for v in per.values()]).mean(0)
    networks.lip_sync.style.average.copy_(average)
