"""How well predicted mouths follow true ones: the numbers that choose a checkpoint, and their curves."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...config import SAMPLES_PER_FRAME
from ...errors import DependencyError
from ...geometry.face_model import FaceModel
from ...speech.lip_sync import predict_expression, template_offsets
from ...speech.networks import SpeechNetworks
from .data import SpeechClip
from .losses import MouthMeasure


@dataclass(frozen=True)
class ClipScore:
    """Pearson r of opening and width, share of truly closed frames that are predicted closed, and mean
    openings."""

    name: str
    speaker: str
    opening_r: float
    width_r: float
    closed_recall: float
    opening_gain: float


def clip_style(clip: SpeechClip, networks: SpeechNetworks) -> Tensor:
    """(D,) style of the clip's own motion."""
    with torch.inference_mode():
        motion = clip.expression[clip.valid].to(networks.lip_sync.basis.device)
        return networks.lip_sync.style(networks.lip_sync.offsets(motion[None]))[0].cpu()


def predict_clip(
    clip: SpeechClip, networks: SpeechNetworks, face_model: FaceModel, style: Tensor | None = None
) -> Tensor:
    """(T, E_low) predicted from the clip's sound, its lag corrected, in its own style unless another is
    given."""
    shift = int(round(clip.lag * SAMPLES_PER_FRAME))
    samples = torch.from_numpy(clip.samples)
    samples = torch.cat((torch.zeros(shift), samples)) if shift >= 0 else samples[-shift:]
    style = clip_style(clip, networks) if style is None else style
    return predict_expression(
        samples, clip.frame_count, style, template_offsets(clip.identity, face_model), networks
    )


def score_clip(clip: SpeechClip, predicted: Tensor, measure: MouthMeasure) -> ClipScore:
    """Compare (T, E_low) with the clip's own expression over its valid frames."""
    identity = clip.identity[None]
    opening, width = (x[0][clip.valid] for x in measure(predicted[None], identity))
    true_opening, true_width = (x[0][clip.valid] for x in measure(clip.expression[None], identity))
    bound = true_opening.quantile(0.1) + 0.15 * (true_opening.quantile(0.95) - true_opening.quantile(0.1))
    closed = true_opening <= bound
    slack = bound + 0.1 * (true_opening.quantile(0.95) - true_opening.quantile(0.1))
    recall = float((opening[closed] <= slack).float().mean()) if bool(closed.any()) else float("nan")
    gain = float(opening.std() / true_opening.std().clamp(min=1e-6))
    return ClipScore(
        clip.name,
        clip.speaker,
        correlation(opening, true_opening),
        correlation(width, true_width),
        recall,
        gain,
    )


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson r of two (T,) tensors; 0 where one of them is constant."""
    a, b = a - a.mean(), b - b.mean()
    scale = a.norm() * b.norm()
    return float((a * b).sum() / scale) if float(scale) > 1e-12 else 0.0


def speaker_mean(scores: list[ClipScore], field: str) -> float:
    """Mean over speakers of the mean over their clips, so that one talkative person does not decide."""
    per: dict[str, list[float]] = {}
    for score in scores:
        per.setdefault(score.speaker, []).append(getattr(score, field))
    return sum(sum(v) / len(v) for v in per.values()) / max(len(per), 1)


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Losses on the left, scores on held-out speakers on the right, over steps. Raises DependencyError
    without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DependencyError(
            "loss curves need matplotlib; install it with 'pip install matplotlib'."
        ) from error
    scores = ("opening_r", "width_r", "closed_recall", "opening_gain")
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = [entry["step"] for entry in history]
    for name in sorted({k for entry in history for k in entry} - {"step", *scores}):
        left.plot(steps, [entry.get(name, float("nan")) for entry in history], label=name)
    for name in scores:
        right.plot(steps, [entry.get(name, float("nan")) for entry in history], label=name)
    left.set_yscale("log")
    left.set_title("losses (moving averages)")
    right.set_title("held-out speakers")
    for axes in (left, right):
        axes.set_xlabel("step")
        axes.legend(fontsize=7)
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
