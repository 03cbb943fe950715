"""Networks that judge: those of StyleSim and of the sync score, and those of the user's that give the paper's
metrics their real names.

Without a user's Inception, ArcFace, LPIPS or SyncNet the stand-ins are reported, under their own names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from torch import Tensor

from ...errors import WeightsError
from ...weights.manifest import BUNDLED_FOLDER, read_manifest
from ...weights.resolver import resolve_weights
from ..metrics.feature_distance import Features
from ..metrics.lip_sync_score import SoundOpening, load_sound_opening
from ..metrics.style_similarity import StyleMetric, load_style_metric
from .onnx_network import onnx_distance, onnx_features
from .syncnet import SyncNet, load_syncnet

INCEPTION, ARCFACE, LPIPS, SYNCNET = "inception.onnx", "arcface.onnx", "lpips.onnx", "syncnet.safetensors"
STYLE_METRIC, SYNC_JUDGE = "style_metric", "sync_judge"  # their names among the weights


@dataclass(frozen=True, eq=False)
class JudgeNetworks:
    """inception, arcface: features; lpips: distances (N,) of two batches of crops; syncnet: both streams;
    style: StyleSim's encoder; sound: hears the opening. None where absent."""

    inception: Features | None = None
    arcface: Features | None = None
    lpips: Callable[[Tensor, Tensor], Tensor] | None = None
    syncnet: SyncNet | None = None
    style: StyleMetric | None = None
    sound: SoundOpening | None = None

    @property
    def present(self) -> tuple[str, ...]:
        """Names of those that are there."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)


def load_judges(folder: Path | None) -> JudgeNetworks:
    """Load the bundled judges of style and sync, and what a folder of the user's holds.

    Args:
        folder: any of inception.onnx (299 pixels, pooled 2048 features), arcface.onnx (112 pixels),
            lpips.onnx (two inputs in
            [-1, 1], any names) and syncnet.safetensors (the published parameters under their published
        names); None: none of them.
    Raises:
        WeightsError: the folder does not exist, or a file in it cannot be used.
    """
    style, sound = bundled_style_metric(), bundled_sound_opening()
    if folder is None:
        return JudgeNetworks(style=style, sound=sound)
    folder = Path(folder)
    if not folder.is_dir():
        raise WeightsError(
            f"{folder} is not a folder; expected any of {INCEPTION}, {ARCFACE}, {LPIPS} and {SYNCNET} in it."
        )
    return JudgeNetworks(
        inception=onnx_features(folder / INCEPTION, 299) if (folder / INCEPTION).is_file() else None,
        arcface=onnx_features(folder / ARCFACE, 112) if (folder / ARCFACE).is_file() else None,
        lpips=onnx_distance(folder / LPIPS) if (folder / LPIPS).is_file() else None,
        syncnet=load_syncnet(folder / SYNCNET) if (folder / SYNCNET).is_file() else None,
        style=style,
        sound=sound,
    )


def bundled_style_metric() -> StyleMetric | None:
    """StyleSim's encoder as this release ships it; None where it ships none. Raises WeightsError when the
    file is damaged."""
    if STYLE_METRIC not in read_manifest(BUNDLED_FOLDER):
        return None
    return load_style_metric(resolve_weights(STYLE_METRIC).path)


def bundled_sound_opening() -> SoundOpening | None:
    """The judge of the sync score as this release ships it; None where it ships none. Raises WeightsError
    when it is damaged."""
    if SYNC_JUDGE not in read_manifest(BUNDLED_FOLDER):
        return None
    return load_sound_opening(resolve_weights(SYNC_JUDGE).path)
