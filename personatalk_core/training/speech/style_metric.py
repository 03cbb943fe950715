"""Trains StyleSim's encoder: windows of one speaker near to each other, windows of different speakers apart
(paper 4.2)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...errors import OptionsError
from ...evaluation.metrics.style_similarity import (
    WINDOW,
    StyleMetric,
    StyleMetricConfig,
    motion_windows,
    save_style_metric,
)
from ...geometry.face_model import FaceModel, load_face_model
from ...speech.timeline import at_model_rate
from ...types import OnProgress
from ...weights.checkpoint import write_atomically
from ..data.hold_out import HELD_OUT_SHARE, draw_speakers
from ..data.preparation import prepare_folder

STEPS = 700
PAIRS = 32  # speakers in a batch, two windows each
TEMPERATURE = 0.1
LEARNING_RATE = 1e-3
# standard deviations of the face model: a fit's bias of a whole clip, and its noise of a frame
OFFSET, NOISE = (
    0.3,
    0.05,
)
CHECK_EVERY = 100


@dataclass(frozen=True, eq=False)
class Motion:
    """One clip: speaker, expression (T, E_low) at 25 fps, usable (T,) bool."""

    speaker: str
    expression: Tensor
    usable: Tensor


def train_style_metric(
    data: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    face_model: FaceModel | None = None,
) -> Path:
    """Prepare a folder of talking people (with or without sound), train, and write
    ``out``/style_metric.safetensors.

    Args:
        data: folder of videos; see ``preparation`` for how speakers are named.
        out:  folder for the cache, ``style_metric.json`` with the curve, and the weights.
        on_progress: first videos prepared, then steps done.
    Raises:
        OptionsError: fewer than four speakers with two seconds of usable frames.
    """
    out, face_model = Path(out), face_model or load_face_model()
    prepared, left_out = prepare_folder(data, out / "cache", face_model, on_progress)
    motions = []
    for clip in prepared:
        expression, usable = at_model_rate(clip.geometry)
        motions.append(Motion(clip.speaker, expression[:, : face_model.lower_count], usable))
    metric, history = fit_style_metric(
        motions, face_model, seed=seed, steps=steps or STEPS, on_progress=on_progress
    )
    best = max((row["held_out_1nn"] for row in history), default=float("nan"))
    write_atomically(
        out / "style_metric.json",
        (json.dumps({"history": history, "left_out": left_out}, indent=1) + "\n").encode(),
    )
    card = (
        f"StyleSim encoder, contrastive on windows of {WINDOW} frames; {len(motions)} clips; held-out 1-NN "
        f"{best:.2f}."
    )
    save_style_metric(out / "style_metric.safetensors", metric, card)
    return out / "style_metric.safetensors"


def fit_style_metric(
    motions: Sequence[Motion],
    face_model: FaceModel,
    *,
    seed: int = 0,
    steps: int = STEPS,
    on_progress: OnProgress | None = None,
) -> tuple[StyleMetric, list[dict[str, float]]]:
    """Train on all speakers but the held-out ones, and keep the parameters that tell the held-out ones apart
    best.

    Returns:
        The encoder in eval mode, and rows of step, loss and held_out_1nn.
    """
    pool: dict[str, list[list[Tensor]]] = {}
    for motion in motions:
        windows = [w for w in motion_windows(motion.expression, motion.usable, hop=5) if len(w) == WINDOW]
        if windows:
            pool.setdefault(motion.speaker, []).append(windows)
    # two windows that do not overlap
    long_enough = sorted(s for s, clips in pool.items() if len(clips) > 1 or len(clips[0]) > 10)
    if len(long_enough) < 4:
        raise OptionsError(
            f"{len(long_enough)} speakers have two windows of {WINDOW / 25:.0f} s but the style metric "
            "needs 4; add videos."
        )
    generator = torch.Generator().manual_seed(seed)
    held = draw_speakers({s: sum(map(len, pool[s])) for s in long_enough}, HELD_OUT_SHARE, least=2)
    training = [s for s in long_enough if s not in held]
    torch.manual_seed(seed)
    metric = StyleMetric(StyleMetricConfig(face_model.lower_count, face_model.sha256))
    optimizer = torch.optim.AdamW(metric.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    held_windows = [(s, w) for s in sorted(held) for clip in pool[s] for w in clip[::10]]
    history, best, best_state = [], -1.0, metric.state_dict()
    for step in range(steps):
        speakers = [training[k] for k in torch.randperm(len(training), generator=generator)[:PAIRS].tolist()]
        left, right = zip(*(draw_pair(pool[s], generator) for s in speakers), strict=True)
        metric.train()
        loss = contrastive_loss(
            metric(augment(torch.stack(left), generator)), metric(augment(torch.stack(right), generator))
        )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            accuracy = nearest_neighbour_accuracy(held_windows, metric)
            history.append({"step": step + 1, "loss": float(loss.detach()), "held_out_1nn": accuracy})
            if accuracy >= best:
                best, best_state = (
                    accuracy,
                    {name: value.clone() for name, value in metric.state_dict().items()},
                )
        if on_progress:
            on_progress(step + 1, steps)
    metric.load_state_dict(best_state)
    return metric.eval(), history


def draw_pair(clips: list[list[Tensor]], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two windows of one speaker: of different clips where there are several, else of one clip without
    overlap."""

    def below(count: int) -> int:
        return int(torch.randint(count, (1,), generator=generator))

    if len(clips) > 1:
        first, second = torch.randperm(len(clips), generator=generator)[:2].tolist()
        return clips[first][below(len(clips[first]))], clips[second][below(len(clips[second]))]
    windows = clips[0]
    first = below(len(windows))
    # 10 windows of hop 5 are one window's length
    others = [k for k in range(len(windows)) if abs(k - first) >= 10]
    return windows[first], windows[others[below(len(others))] if others else first]


def augment(windows: Tensor, generator: torch.Generator) -> Tensor:
    """A fit's own errors: one offset a window and noise a frame, so that a biased fit is not taken for a
    style."""
    offset = OFFSET * torch.randn(len(windows), 1, windows.shape[2], generator=generator)
    return windows + offset + NOISE * torch.randn(windows.shape, generator=generator)


def contrastive_loss(left: Tensor, right: Tensor) -> Tensor:
    """NT-Xent of unit vectors (B, D) twice: row k belongs to row k and to nothing else."""
    both = torch.cat([left, right])
    logits = both @ both.T / TEMPERATURE
    logits = logits.masked_fill(torch.eye(len(both), dtype=torch.bool), float("-inf"))
    return F.cross_entropy(logits, torch.arange(len(both)).roll(len(left)))


@torch.no_grad()
def nearest_neighbour_accuracy(windows: Sequence[tuple[str, Tensor]], metric: StyleMetric) -> float:
    """Share of windows whose nearest other window is the same speaker's; windows are (speaker, (WINDOW, E))
    that do not overlap."""
    metric.eval()
    vectors = metric(torch.stack([w for _, w in windows]))
    likeness = vectors @ vectors.T
    likeness.fill_diagonal_(-2.0)
    nearest = likeness.argmax(dim=1).tolist()
    return sum(windows[k][0] == windows[n][0] for k, n in enumerate(nearest)) / len(windows)
