"""What each loss of the renderer is worth: runs of one budget from one seed, scored on speakers none of them
saw.

python -m personatalk_core.training.renderer.ablations --data TRAIN --out FOLDER [--steps 300] [--hold-out
SPEAKER ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...evaluation.metrics.image_quality import gmsd
from ...evaluation.metrics.reconstruction import around_lips, detail, masked_psnr, masked_ssim, region_masks
from ...geometry.face_model import FaceModel, load_face_model
from ...models import choose_device
from ...rendering.renderer import DualAttentionRenderer, RendererConfig, build_renderer, save_renderer
from ...types import OnProgress
from ...weights.checkpoint import write_atomically
from ..distributed import OneProcess
from .data import PreparedClip, hold_out_speakers
from .discriminator import mouth_cut
from .loop import RendererTrainer, RendererTraining, reconstruct_clip
from .losses import RendererLossWeights
from .train import LICENCE, losses_of, prepared_clips

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
KEPT_EVERY = 100  # steps between states that an interrupted run goes on from


def renderer_ablations(
    data: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    steps: int = 300,
    seed: int = 0,
    hold_out: Sequence[str] = (),
    losses: dict[str, RendererLossWeights] = LOSSES,
    config: RendererConfig | None = None,
    options: RendererTraining | None = None,
    face_model: FaceModel | None = None,
    device: str = "auto",
) -> dict[str, dict[str, float]]:
    """Train with every set of losses (resumable, a folder each) and score what the last step gave.

    Args:
        data, out, hold_out: as of ``train_renderer``; ``out`` also gets ``ablations.json`` and each run's
            weights.
        steps: of every run.  losses: the runs by name.  device: of ``choose_device``.  on_progress: steps
            done of all.
    Returns:
        {name: scores of :func:`score_renderer`}, the untrained renderer first.
    """
    out, face_model = Path(out), face_model or load_face_model()
    clips = prepared_clips(Path(data), out / "clips", face_model)
    training, validation = hold_out_speakers(clips, set(hold_out))
    options = replace(
        options or RendererTraining(), steps=steps, seed=seed, check_every=min(steps, KEPT_EVERY)
    )
    config = config or RendererConfig()
    there = choose_device(device)
    judge = face_model.to(there)
    rows = {UNTRAINED: score_renderer(build_renderer(config, seed).to(there), validation, judge, options)}
    for number, (name, weights) in enumerate(losses.items()):
        folder = out / "".join(c if c.isalnum() else "_" for c in name)
        start = build_renderer(config, seed)
        trainer = RendererTrainer(
            start, face_model, training, [], replace(options, loss=weights), folder, OneProcess(there)
        )
        last = trainer.run(
            (lambda done, _, n=number: on_progress(n * steps + done, len(losses) * steps))
            if on_progress
            else None
        )
        card = f"One row of training/renderer/ablations.py: {steps} steps with {losses_of(weights)} losses."
        save_renderer(folder / "renderer.safetensors", last, licence=LICENCE, card=card)
        rows[name] = score_renderer(last, validation, judge, options)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="folder of training videos, or of clips prepared by 'train renderer'",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and ablations.json")
    parser.add_argument("--steps", type=int, default=300)
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
    chosen = parser.parse_args(arguments)
    losses = {name: LOSSES[name] for name in chosen.losses}
    more = {"steps": chosen.steps, "seed": chosen.seed, "hold_out": chosen.hold_out, "device": chosen.device}
    rows = renderer_ablations(chosen.data, chosen.out, losses=losses, **more)
    sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
