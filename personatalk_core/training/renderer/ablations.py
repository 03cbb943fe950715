"""What each loss of the renderer is worth: runs of one budget from one seed, scored on speakers none of them
saw.

personatalk study renderer-ablations --data TRAIN --out FOLDER [--steps 300] --hold-out SPEAKER ...
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...dubbing.progress import Progress
from ...evaluation.metrics.image_quality import gmsd
from ...evaluation.metrics.reconstruction import around_lips, detail, masked_psnr, masked_ssim, region_masks
from ...geometry.face_model import FaceModel, load_face_model
from ...models import choose_device
from ...rendering.renderer import DualAttentionRenderer, RendererConfig, build_renderer, save_renderer
from ...types import OnProgress
from ...weights.checkpoint import write_atomically
from ..data.hold_out import split_by_speaker
from ..distributed import Distributed
from ..recipe import TrainOptions
from ..trainer import Trainer
from .data import PreparedClip
from .discriminator import mouth_cut
from .losses import RendererLossWeights
from .task import RendererTask, RendererTraining, reconstruct_clip
from .train import LICENCE, losses_of, prepared_clips, renderer_recipe

STEPS = 300  # of every run
ALONE = RendererLossWeights(gradient=0.0, pyramid=0.0, perceptual=0.0, adversarial=0.0)
LOSSES = {
    "L1": ALONE,
    "L1, perceptual": replace(ALONE, perceptual=0.02),
    "L1, perceptual, adversarial": replace(ALONE, perceptual=0.02, adversarial=0.01),
    "L1, edges, perceptual": RendererLossWeights(adversarial=0.0),
    "the recipe's: L1, edges, perceptual, adversarial": RendererLossWeights(),
}
UNTRAINED = "untrained: the geometric start"
TITLES = {
    "face": "face dB",
    "lips": "lips dB",
    "ssim": "SSIM lips",
    "distance": "gmsd mouth",
    "detail": "lip detail",
}
TARGETS = 6  # frames a held-out clip
SAVED_EVERY = 100  # steps between states that an interrupted run goes on from


def renderer_ablations(
    data: Path,
    out: Path,
    options: TrainOptions,
    on_progress: OnProgress | None = None,
    *,
    losses: dict[str, RendererLossWeights] = LOSSES,
    recipe: RendererTraining | None = None,
    config: RendererConfig | None = None,
) -> dict[str, dict[str, float]]:
    """Train with every set of losses (resumable, a folder each) and score what the last step gave.

    Args:
        data, out, options, recipe, config: as of ``train_renderer``; ``out`` also gets ``ablations.json`` and
            each run's weights. Every run takes the steps. The speakers held out score.
        losses: the runs by name.
        on_progress: steps done of all.
    Returns:
        {name: scores of :func:`score_renderer`}, the untrained renderer first.
    """
    out, face_model, config = Path(out), load_face_model(), config or RendererConfig()
    steps = options.steps or STEPS
    clips = prepared_clips(Path(data), out / "clips", face_model)
    training, validation = split_by_speaker(clips, options.hold_out)
    recipe = renderer_recipe(options, recipe)
    recipe = replace(recipe, steps=steps, check_every=min(steps, SAVED_EVERY))
    device = choose_device(options.device)
    judge = face_model.to(device)
    untrained = build_renderer(config, recipe.seed).to(device)
    rows = {UNTRAINED: score_renderer(untrained, validation, judge, recipe)}
    for number, (name, weights) in enumerate(losses.items()):
        folder = out / "".join(c if c.isalnum() else "_" for c in name)
        start, one = build_renderer(config, recipe.seed), replace(recipe, loss=weights)
        task = RendererTask(start, face_model, training, [], one, Distributed(device))
        last = Trainer(task, one.loop, folder).run(
            (lambda done, _, n=number: on_progress(n * steps + done, len(losses) * steps))
            if on_progress
            else None
        )
        card = f"One row of training/renderer/ablations.py: {steps} steps with {losses_of(weights)} losses."
        save_renderer(folder / "renderer.safetensors", last, licence=LICENCE, card=card)
        rows[name] = score_renderer(last, validation, judge, recipe)
        write_atomically(out / "ablations.json", json.dumps(rows, indent=1).encode())
    return rows


def score_renderer(
    renderer: DualAttentionRenderer,
    clips: Sequence[PreparedClip],
    face_model: FaceModel,
    options: RendererTraining,
) -> dict[str, float]:
    """Means over clips of: PSNR in face and lips, SSIM in the lips, gmsd of the mouth's rectangle, detail
    around the lips over the source's."""
    rows = []
    for clip in clips:
        image, truth, points = reconstruct_clip(
            renderer, clip, face_model, TARGETS, options.references.exclude_window
        )
        masks = region_masks(points, face_model, image.shape[-1])
        around = around_lips(masks)
        cuts = [
            (slice(k, k + 1), slice(None), *mouth_cut(masks.lips[k : k + 1].float()))
            for k in range(len(image))
        ]
        distance = torch.stack([gmsd(image[cut], truth[cut])[0] for cut in cuts])
        sharp = (detail(image, around) / detail(truth, around)).nanmedian()
        psnr = [masked_psnr(image, truth, mask).nanmean() for mask in (masks.face, masks.lips)]
        rows.append(
            torch.stack([*psnr, masked_ssim(image, truth, masks.lips).nanmean(), distance.mean(), sharp])
        )
    return dict(zip(TITLES, torch.stack(rows).mean(dim=0).tolist(), strict=True))


def table(rows: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    lines = ["| losses | " + " | ".join(TITLES.values()) + " |", "|---" * (len(TITLES) + 1) + "|"]
    return "\n".join(
        [
            *lines,
            *(
                f"| {name} | " + " | ".join(f"{row[t]:.3f}" for t in TITLES) + " |"
                for name, row in rows.items()
            ),
        ]
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``personatalk study renderer-ablations``."""
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of training videos, or of clips prepared by 'train renderer'",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and ablations.json")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--losses",
        nargs="+",
        choices=tuple(LOSSES),
        default=list(LOSSES),
        metavar="ROW",
        help="some of the rows only",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda or mps")
    parser.add_argument(
        "--hold-out", nargs="+", required=True, metavar="SPEAKER", help="speakers that score and never train"
    )


def run(args: argparse.Namespace, progress: Progress) -> str:
    """All runs, as a table."""
    losses = {name: LOSSES[name] for name in args.losses}
    options = TrainOptions(
        steps=args.steps, seed=args.seed, hold_out=tuple(args.hold_out), device=args.device
    )
    return table(renderer_ablations(args.data, args.out, options, progress.stage("ablations"), losses=losses))
