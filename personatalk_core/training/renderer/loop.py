"""The training loop of the renderer: resumable after a kill, validated on held-out speakers, sheets written
as it runs."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path

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
from ...types import OnProgress
from ..distributed import OneProcess
from ..image_grid import write_sheet
from ..state import resume_run, save_run
from .data import ExampleSampler, PreparedClip, PreparedFrames, RenderingExample
from .discriminator import PatchDiscriminator, gan_loss, mouth_cut
from .losses import RendererLossWeights, renderer_loss

ADVERSARY_RATE = 2e-4
LARGEST_GRADIENT = 1.0  # norm
ENCODED_TOGETHER = 8  # frames
KEPT = (
    "best_state",
    "step",
    "best",
    "history",
    "adversary_state",
)  # what a resumed run goes on from, beside its networks and optimiser


@dataclass(frozen=True)
class RendererTraining:
    """Knobs of the loop.

    steps; accumulate: examples a step; rate: peak learning rate; average: of the moving average of weights
    that is kept; check_every: steps between validations; targets: validation frames a clip; references: N_l,
    N_f and the frames left out around the target; window: frames beyond them that face references come from;
    encoder_every: the encoders learn every so many steps (most of a step's time on a CPU is theirs); seed.
    """

    steps: int = 900
    accumulate: int = 4
    rate: float = 5e-4
    average: float = 0.998
    check_every: int = 150
    targets: int = 4
    references: ReferenceOptions = field(
        default_factory=lambda: ReferenceOptions(lip_count=8, face_count=3, exclude_window=12)
    )
    window: int = 24
    encoder_every: int = 1
    seed: int = 0
    loss: RendererLossWeights = field(default_factory=RendererLossWeights)


class RendererTrainer:
    """Holds the renderer, its moving average, the optimiser and the history; one call trains to the end."""

    def __init__(
        self,
        renderer: DualAttentionRenderer,
        face_model: FaceModel,
        training: list[PreparedClip],
        validation: list[PreparedClip],
        options: RendererTraining,
        folder: Path,
        processes: OneProcess | None = None,
    ) -> None:
        self.processes = processes or OneProcess()
        torch.manual_seed(options.seed)
        self.model, self.options, self.folder = (
            renderer.requires_grad_(True).to(self.processes.device),
            options,
            Path(folder),
        )
        self.face_model = face_model.to(self.processes.device)
        self.average = copy.deepcopy(self.model).requires_grad_(False).eval()
        self.sampler = ExampleSampler(training, face_model, options.references, options.window, options.seed)
        self.validation = validation
        scalars = [p for p in renderer.parameters() if p.ndim == 0]
        rest = [p for p in renderer.parameters() if p.ndim > 0]
        groups = [{"params": rest, "weight_decay": 1e-4}, {"params": scalars, "weight_decay": 0.0}]
        self.optimiser = self.processes.prepare(torch.optim.AdamW(groups, betas=(0.9, 0.99)))
        self.step, self.best = 0, -1.0
        self.best_state: dict[str, Tensor] = copy.deepcopy(self.average.state_dict())
        self.history: list[dict[str, float]] = []
        self.discriminator = (
            PatchDiscriminator().to(self.processes.device) if options.loss.adversarial else None
        )
        if self.discriminator is not None:
            self.adversary_optimiser = torch.optim.Adam(
                self.discriminator.parameters(), ADVERSARY_RATE, betas=(0.0, 0.9)
            )

    @property
    def adversary_state(self) -> dict:
        """Adversary and its optimiser, kept with the run; empty without one."""
        return (
            {"model": self.discriminator.state_dict(), "optimiser": self.adversary_optimiser.state_dict()}
            if self.discriminator
            else {}
        )

    @adversary_state.setter
    def adversary_state(self, state: dict) -> None:
        if self.discriminator and state:
            self.discriminator.load_state_dict(state["model"])
            self.adversary_optimiser.load_state_dict(state["optimiser"])

    def run(self, on_progress: OnProgress | None = None) -> DualAttentionRenderer:
        """Train to the last step; returns the best averaged renderer, frozen."""
        self._resume()
        running: dict[str, float] = {}
        if self.step == 0:
            self._check(running)
        while self.step < self.options.steps:
            terms = self._train_step()
            running = {k: 0.98 * running.get(k, v) + 0.02 * v for k, v in terms.items()}
            self.step += 1
            if self.step % self.options.check_every == 0 or self.step == self.options.steps:
                self._check(running)
            if on_progress is not None:
                on_progress(self.step, self.options.steps)
        self.average.load_state_dict(self.best_state)
        return self.average

    def _train_step(self) -> dict[str, float]:
        options = self.options
        self.model.train()
        for group in self.optimiser.param_groups:
            group["lr"] = options.rate * self._schedule()
        self.optimiser.zero_grad(set_to_none=True)
        for encoder in (self.model.geometry_encoder, self.model.texture_encoder):
            encoder.requires_grad_(self.step % options.encoder_every == 0)
        logged: dict[str, float] = {}
        losses, shown = [], []
        for part in range(options.accumulate):
            number = (self.step * options.accumulate + part) * self.processes.count + self.processes.rank
            example = self.sampler.example(number).to(self.processes.device)
            with self.processes.precision(half=False):
                crops = render_example(self.model, example, self.face_model)
            crops = RenderedCrops(crops.rgb.float(), crops.lip.float(), crops.face.float())
            loss, terms = renderer_loss(
                crops.rgb, example.target.crops, crops.lip, crops.face, options.loss, self.discriminator
            )
            losses.append(loss / options.accumulate)
            shown.append((crops, example.target.crops))
            for name, value in {**terms, "total": loss}.items():
                logged[name] = logged.get(name, 0.0) + float(value.detach()) / options.accumulate
        self.processes.descend(torch.stack(losses).sum(), self.model.parameters(), LARGEST_GRADIENT)
        self.optimiser.step()
        for crops, truth in shown if self.discriminator is not None else ():
            logged["adversary"] = float(self._teach_adversary(crops, truth).detach())
        keep = min(options.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.lerp_(new, 1 - keep)
        return logged

    def _teach_adversary(self, crops: RenderedCrops, truth: Tensor) -> Tensor:
        rows, columns = mouth_cut(crops.lip)
        self.adversary_optimiser.zero_grad(set_to_none=True)
        loss = gan_loss(self.discriminator, crops.rgb[..., rows, columns], truth[..., rows, columns])
        self.processes.descend(loss, self.discriminator.parameters(), LARGEST_GRADIENT)
        self.adversary_optimiser.step()
        return loss

    def _schedule(self) -> float:
        """Linear warm-up, then cosine to a twentieth."""
        warm = min(1.0, (self.step + 1) / 100)
        done = torch.tensor(torch.pi * self.step / self.options.steps)
        return warm * (0.05 + 0.95 * 0.5 * (1 + float(torch.cos(done))))

    def _check(self, running: dict[str, float]) -> None:
        """Score the averaged renderer on the validation speakers, keep it when it is the best, write a sheet,
        save.

        Every process scores, so that all keep the same; the first one writes.
        """
        scores, rows = [], []
        for clip in self.validation:
            away = self.options.references.exclude_window
            image, truth, points = reconstruct_clip(
                self.average, clip, self.face_model, self.options.targets, away
            )
            masks = region_masks(points, self.face_model, image.shape[-1])
            sharp = detail(image, masks.lips) / detail(truth, masks.lips)
            found = (masked_psnr(image, truth, masks.face), masked_psnr(image, truth, masks.lips), sharp)
            scores.append([float(value.nanmean()) for value in found])
            rows.append(torch.cat([truth[:1], image[:1], ((image[:1] - truth[:1]).abs() * 4)]))
        face, lips, sharp = (
            torch.tensor(scores).mean(dim=0).tolist() if scores else (0.0, float(self.step), 0.0)
        )
        self.history.append(
            {"step": self.step, **running, "psnr_face": face, "psnr_lips": lips, "detail_lips": sharp}
        )
        if rows and self.processes.rank == 0:
            write_sheet(
                self.folder / "sheets" / f"{self.step:06d}.png",
                [rearrange(row, "k c h w -> k h w c") for row in rows],
            )
        if face + lips > self.best:
            self.best, self.best_state = face + lips, copy.deepcopy(self.average.state_dict())
        self._save()

    def _save(self) -> None:
        if self.processes.rank == 0:
            save_run(self, self.folder, KEPT)

    def _resume(self) -> None:
        resume_run(self, self.folder, KEPT)


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
        frames.seen,
        face_model,
    )


@torch.inference_mode()
def reconstruct_clip(
    renderer: DualAttentionRenderer,
    clip: PreparedClip,
    face_model: FaceModel,
    targets: int,
    exclude_window: int,
    lip_count: int = 50,
    face_count: int = 5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render evenly spread frames of a prepared clip from references at least ``exclude_window`` source
    frames away.

    Returns:
        image (B, 3, R, R), truth (B, 3, R, R), points (B, V, 3).
    """
    frame, device = torch.tensor(clip.frame), face_model.mean.device
    everything = torch.arange(clip.frame_count)
    parts = (clip.read(part).to(device) for part in everything.split(ENCODED_TOGETHER))
    encoded = EncodedReferences.join([encode(renderer, part, face_model) for part in parts])
    expression = clip.read_expression().to(device)
    vertices = face_model.mean + torch.einsum("te,evk->tvk", expression, face_model.expression_basis)
    rows = spread_by_opening(mouth_opening(vertices, face_model).cpu(), everything, lip_count)
    lip, shot = encoded[rows], torch.zeros(int(frame[-1]) + 1, dtype=torch.long)
    looks = torch.zeros(int(frame[-1]) + 1, encoded.pose.shape[1] + encoded.shape.shape[1])
    by_shape, by_pose = FACE_SHARPNESS
    looks[frame] = torch.cat([by_pose**0.5 * encoded.pose, by_shape**0.5 * encoded.shape], dim=1).cpu()
    chosen = torch.linspace(0, clip.frame_count - 1, targets).round().long()
    target, images = clip.read(chosen).to(device), []
    for k, i in enumerate(frame[chosen]):
        face = encoded[
            torch.searchsorted(
                frame, most_similar_frames(int(i), frame, shot, looks, face_count, exclude_window)
            )
        ]
        allowed = allowed_references(frame[rows], i[None], exclude_window)
        points, expression = target.points[k : k + 1], target.expression[k : k + 1]
        targets = Targets(points, expression, lip_allowed=allowed.to(device))
        crops = render(renderer, targets, lip, face, face_model)
        images.append(crops.rgb)
    return torch.cat(images), target.crops, target.points
