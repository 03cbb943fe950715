"""What training the renderer is: examples, losses, a discriminator, and self-reconstruction of held-out
speakers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from ...evaluation.metrics.reconstruction import detail, masked_psnr, region_masks
from ...geometry.face_model import FaceModel
from ...geometry.vertices import mouth_opening
from ...rendering.batch import EncodedReferences
from ...rendering.references import (
    ReferenceOptions,
    allowed_references,
    most_similar_frames,
    spread_by_opening,
)
from ...rendering.renderer import DualAttentionRenderer, RenderedCrops, Targets, encode_drawn, render
from ...rendering.similarity import FACE_SHARPNESS
from ..distributed import Distributed
from ..trainer import MAX_NORM, LoopOptions, TrainingTask, Validation, warmup_cosine
from .data import ExampleSampler, PreparedClip, PreparedFrames, RenderingExample
from .discriminator import PatchDiscriminator, gan_loss, mouth_cut
from .losses import RendererLossWeights, renderer_loss

DISCRIMINATOR_LR = 2e-4
WARMUP = 100  # steps
ENCODE_BATCH = 8  # frames


@dataclass(frozen=True)
class RendererTraining:
    """Options of the recipe.

    steps; accumulate: examples a step; lr: peak learning rate; ema: share of the averaged weights that a step
    keeps; check_every: steps between validations; targets: validation frames a clip; references: N_l, N_f and
    the frames left out around the target; window: frames beyond them that face references come from;
    encoder_every: the encoders learn every so many steps (most of a step's time on a CPU is theirs); seed.
    """

    steps: int = 900
    accumulate: int = 4
    lr: float = 5e-4
    ema: float = 0.998
    check_every: int = 150
    targets: int = 4
    references: ReferenceOptions = field(
        default_factory=lambda: ReferenceOptions(lip_count=8, face_count=3, exclude_window=12)
    )
    window: int = 24
    encoder_every: int = 1
    seed: int = 0
    loss: RendererLossWeights = field(default_factory=RendererLossWeights)

    @property
    def loop(self) -> LoopOptions:
        """What the trainer needs of them."""
        return LoopOptions(
            self.steps, self.check_every, self.ema, accumulate=self.accumulate, check_start=True
        )


class RendererTask(TrainingTask[DualAttentionRenderer, RenderingExample]):
    """The renderer on self-reconstruction, with a discriminator where the loss has an adversarial term.

    Args:
        training, validation: prepared clips; no validation need be there.
    """

    def __init__(
        self,
        renderer: DualAttentionRenderer,
        face_model: FaceModel,
        training: list[PreparedClip],
        validation: list[PreparedClip],
        options: RendererTraining,
        distributed: Distributed | None = None,
    ) -> None:
        self.distributed = distributed or Distributed()
        device = self.distributed.device
        torch.manual_seed(options.seed)
        self.options, self.validation = options, validation
        self.model = renderer.requires_grad_(True).to(device)
        self.face_model = face_model.to(device)
        self.sampler = ExampleSampler(training, face_model, options.references, options.window, options.seed)
        groups = [
            {"params": [p for p in self.model.parameters() if p.ndim > 0], "weight_decay": 1e-4},
            {"params": [p for p in self.model.parameters() if p.ndim == 0], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, options.lr, betas=(0.9, 0.99))
        self.schedules = [warmup_cosine(options.steps, WARMUP)] * len(groups)
        self.discriminator = PatchDiscriminator().to(device) if options.loss.adversarial else None
        self.rendered: list[tuple[RenderedCrops, Tensor]] = []  # of this step, with the truth
        if self.discriminator is not None:
            self.discriminator_optimiser = torch.optim.Adam(
                self.discriminator.parameters(), DISCRIMINATOR_LR, betas=(0.0, 0.9)
            )

    def batch(self, number: int) -> RenderingExample:
        return self.sampler.example(number).to(self.distributed.device)

    def begin_step(self, step: int) -> None:
        self.model.train()
        self.rendered = []
        for encoder in (self.model.geometry_encoder, self.model.texture_encoder):
            encoder.requires_grad_(step % self.options.encoder_every == 0)

    def loss(self, batch: RenderingExample) -> tuple[Tensor, dict[str, Tensor]]:
        """All terms of an example."""
        with self.distributed.autocast(half=False):
            crops = render_example(self.model, batch, self.face_model)
        crops = RenderedCrops(crops.rgb.float(), crops.lip.float(), crops.face.float())
        truth = batch.target.crops
        self.rendered.append((crops, truth))
        return renderer_loss(crops.rgb, truth, crops.lip, crops.face, self.options.loss, self.discriminator)

    def end_step(self) -> dict[str, float]:
        """The discriminator learns from the mouths of the step."""
        losses: dict[str, float] = {}
        if self.discriminator is None:
            return losses
        for crops, truth in self.rendered:
            rows, columns = mouth_cut(crops.lip)
            self.discriminator_optimiser.zero_grad(set_to_none=True)
            loss = gan_loss(self.discriminator, crops.rgb[..., rows, columns], truth[..., rows, columns])
            self.distributed.backward_and_clip(loss, self.discriminator.parameters(), MAX_NORM)
            self.discriminator_optimiser.step()
            losses["discriminator"] = float(loss.detach())
        return losses

    def validate(self, model: DualAttentionRenderer) -> Validation:
        """PSNR in face and lips on the validation speakers chooses."""
        scores, grid = [], []
        for clip in self.validation:
            image, truth, points = reconstruct_clip(
                model, clip, self.face_model, self.options.targets, self.options.references.exclude_window
            )
            masks = region_masks(points, self.face_model, image.shape[-1])
            sharpness = detail(image, masks.lips) / detail(truth, masks.lips)
            found = (masked_psnr(image, truth, masks.face), masked_psnr(image, truth, masks.lips), sharpness)
            scores.append([float(value.nanmean()) for value in found])
            row = torch.cat([truth[:1], image[:1], (image[:1] - truth[:1]).abs() * 4])
            grid.append(rearrange(row, "k c h w -> k h w c"))
        if not scores:
            return Validation({}, None)
        face, lips, sharpness = torch.tensor(scores).mean(dim=0).tolist()
        return Validation({"psnr_face": face, "psnr_lips": lips, "detail_lips": sharpness}, face + lips, grid)

    def state_dict(self) -> dict[str, Any]:
        """The discriminator and its optimiser; empty without one."""
        if self.discriminator is None:
            return {}
        return {
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.discriminator_optimiser.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self.discriminator is not None and state:
            self.discriminator.load_state_dict(state["discriminator"])
            self.discriminator_optimiser.load_state_dict(state["optimiser"])


def render_example(
    renderer: DualAttentionRenderer, example: RenderingExample, face_model: FaceModel
) -> RenderedCrops:
    """Render an example's targets from its references."""

    target = example.target
    lip, face = (encode(renderer, frames, face_model) for frames in (example.lip, example.face))
    targets = Targets(target.points, target.expression, example.face_index)
    return render(renderer, targets, lip, face, face_model)


def encode(
    renderer: DualAttentionRenderer, frames: PreparedFrames, face_model: FaceModel
) -> EncodedReferences:
    """Prepared frames as references."""
    return encode_drawn(
        renderer,
        frames.crops,
        frames.points,
        frames.expression,
        frames.geometry,
        frames.visibility,
        face_model,
    )


@torch.inference_mode()
def reconstruct_clip(
    renderer: DualAttentionRenderer,
    clip: PreparedClip,
    face_model: FaceModel,
    count: int,
    exclude_window: int,
    lip_count: int = 50,
    face_count: int = 5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render ``count`` evenly spread frames of a prepared clip from references at least ``exclude_window``
    source frames away.

    Returns:
        image (B, 3, R, R), truth (B, 3, R, R), points (B, V, 3).
    """
    frame, device = torch.tensor(clip.frame), face_model.mean.device
    frames = torch.arange(clip.frame_count)
    batches = (clip.read(rows).to(device) for rows in frames.split(ENCODE_BATCH))
    encoded = EncodedReferences.join([encode(renderer, batch, face_model) for batch in batches])
    expression = clip.read_expression().to(device)
    vertices = face_model.mean + torch.einsum("te,evk->tvk", expression, face_model.expression_basis)
    rows = spread_by_opening(mouth_opening(vertices, face_model).cpu(), frames, lip_count)
    lip, shot = encoded[rows], torch.zeros(int(frame[-1]) + 1, dtype=torch.long)
    appearance = torch.zeros(int(frame[-1]) + 1, encoded.pose.shape[1] + encoded.shape.shape[1])
    by_shape, by_pose = FACE_SHARPNESS
    appearance[frame] = torch.cat([by_pose**0.5 * encoded.pose, by_shape**0.5 * encoded.shape], dim=1).cpu()
    chosen = torch.linspace(0, clip.frame_count - 1, count).round().long()
    target, images = clip.read(chosen).to(device), []
    for k, i in enumerate(frame[chosen]):
        face = encoded[
            torch.searchsorted(
                frame, most_similar_frames(int(i), frame, shot, appearance, face_count, exclude_window)
            )
        ]
        allowed = allowed_references(frame[rows], i[None], exclude_window)
        points, expression = target.points[k : k + 1], target.expression[k : k + 1]
        targets = Targets(points, expression, lip_allowed=allowed.to(device))
        crops = render(renderer, targets, lip, face, face_model)
        images.append(crops.rgb)
    return torch.cat(images), target.crops, target.points
