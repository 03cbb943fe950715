"""StyleSim: how alike two people's ways of speaking are, by an encoder of its own that the generator never
saw (paper 4.2).

After Sun et al. 2023 (DiffPoseTalk), whose design the paper names: a transformer over short windows of
expression, trained so that windows of one speaker are near to each other and windows of different speakers
are not. The generator's own style encoder (``speech/network.py``) is another network, so that the metric does
not grade itself.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from ...checks import check_shape
from ...config import MODEL_FPS
from ...errors import FaceError, FaceModelMismatchError, WeightsError
from ...geometry.face_model import FaceModel
from ...speech.timeline import at_model_rate
from ...types import FaceGeometry
from ...weights.checkpoint import load_checkpoint, load_into, save_checkpoint

KIND = "style_metric"
WINDOW = 2 * MODEL_FPS  # frames: two seconds
HOP = MODEL_FPS // 2
MIN_WINDOW = MODEL_FPS  # a shorter piece says nothing about how somebody speaks


@dataclass(frozen=True)
class StyleMetricConfig:
    """expression: lower coefficients of the face model.  face_model: its sha256.  width D.  output: of the
    embedding."""

    expression: int
    face_model: str
    width: int = 64
    heads: int = 4
    layers: int = 2
    output: int = 32
    dropout: float = 0.1


class StyleMetric(nn.Module):
    """Phi of paper 4.2: windows of lower-face expression to unit vectors."""

    def __init__(self, config: StyleMetricConfig) -> None:
        super().__init__()
        self.config = config
        # where the face is, and how fast it moves
        self.embed = nn.Linear(2 * config.expression, config.width)
        layer = nn.TransformerEncoderLayer(
            config.width,
            config.heads,
            2 * config.width,
            config.dropout,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
        self.project = nn.Linear(2 * config.width, config.output)

    def forward(self, expression: Tensor) -> Tensor:
        """(B, T, E_low) at 25 fps, T >= 2, to (B, output) of length 1."""
        check_shape("expression windows", expression, "B", "T", self.config.expression)
        # about as large as the coefficients themselves
        speed = F.pad(expression.diff(dim=1), (0, 0, 1, 0)) * 4.0
        x = self.embed(torch.cat([expression, speed], dim=-1)) + _positions(
            expression.shape[1], self.config.width
        ).to(expression)
        x = self.layers(x)
        statistics = torch.cat([x.mean(dim=1), x.std(dim=1, correction=0)], dim=-1)
        return F.normalize(self.project(statistics), dim=-1)


def _positions(frames: int, width: int) -> Tensor:
    """(frames, width) sines and cosines."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(frames)[:, None] * rate
    return rearrange(torch.stack([angle.sin(), angle.cos()], -1), "t d k -> t (d k)")


def motion_windows(expression: Tensor, usable: Tensor, length: int = WINDOW, hop: int = HOP) -> list[Tensor]:
    """Windows (length, E) of consecutive usable frames; a clip of MIN_WINDOW frames or more without a whole
    one gives its longest run.

    expression (T, E) at 25 fps, usable (T,) bool.
    """
    edges = torch.cat([torch.zeros(1), usable.float(), torch.zeros(1)]).diff()
    runs = list(
        zip((edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist(), strict=True)
    )
    windows = [
        expression[k : k + length] for first, last in runs for k in range(first, last - length + 1, hop)
    ]
    if not windows and runs:
        first, last = max(runs, key=lambda run: run[1] - run[0])
        windows = [expression[first:last]] if last - first >= MIN_WINDOW else []
    return windows


def window_styles(expression: Tensor, usable: Tensor, metric: StyleMetric) -> Tensor:
    """Every two-second window of a clip as a point: (T, E_low) at 25 fps and (T,) bool to (N, output)."""
    windows = motion_windows(expression, usable)
    with torch.inference_mode():
        return metric(torch.stack(windows)) if windows else torch.zeros(0, metric.config.output)


@torch.inference_mode()
def style_of_motion(expression: Tensor, usable: Tensor, metric: StyleMetric) -> Tensor:
    """The mean unit vector of a clip's windows, (output,), of length 1.

    Raises:
        FaceError: no second of consecutive usable frames.
    """
    windows = motion_windows(expression, usable)
    if not windows:
        raise FaceError(
            f"no {MIN_WINDOW / MODEL_FPS:.0f} s of consecutive usable frames; StyleSim needs that much of "
            "each video."
        )
    return F.normalize(metric(torch.stack(windows)).mean(0), dim=0)


def style_similarity(
    first: FaceGeometry, second: FaceGeometry, face_model: FaceModel, metric: StyleMetric
) -> float:
    """StyleSim of two clips: the cosine of their styles, in [-1, 1].

    Paper: 4.2. The paper's ground truth row compares videos of one person.
    Raises:
        FaceModelMismatchError: clips or metric belong to another face model.  FaceError: too few usable
            frames.
    """
    vectors = []
    for geometry in (first, second):
        if geometry.face_model != metric.config.face_model:
            raise FaceModelMismatchError(
                f"StyleSim's encoder belongs to face model {metric.config.face_model[:12]} but the "
                f"geometry to {geometry.face_model[:12]}; estimate the geometry with the face model of "
                "this release."
            )
        expression, usable = at_model_rate(geometry)
        vectors.append(style_of_motion(expression[:, : face_model.lower_count], usable, metric))
    return float(vectors[0] @ vectors[1])


def save_style_metric(path: Path, metric: StyleMetric, card: str) -> str:
    """Write weights and sizes as safetensors; returns the sha256."""
    return save_checkpoint(
        path, metric.state_dict(), kind=KIND, config=asdict(metric.config), licence="Apache-2.0", card=card
    )


def load_style_metric(path: Path) -> StyleMetric:
    """Load the encoder. Raises WeightsError when the file is missing, damaged or of another kind."""
    checkpoint = load_checkpoint(path, kind=KIND)
    try:
        metric = StyleMetric(StyleMetricConfig(**checkpoint.config))
    except TypeError as error:
        raise WeightsError(
            f"{path} has settings this release does not know ({error}); update PersonaTalk or its weights."
        ) from error
    load_into(metric, checkpoint, str(path))
    return metric.requires_grad_(False)
