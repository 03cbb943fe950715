"""Two fine-tunings of one pretrained encoder averaged into one: what the bundled encoder is.

    personatalk study encoder-average --networks DIR --other AUDIO_ENCODER --out DIR [--share 0.5]

Weights that started from one point and were tuned apart often do better averaged than each alone (Wortsman et
al. 2022, "Model soups"); the head and the projection stay those of ``networks``.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import torch

from ...dubbing.progress import Progress
from ...errors import WeightsError
from ...speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from ...speech.networks import SpeechNetworks, load_speech_networks
from ...weights.checkpoint import load_checkpoint, load_into
from .train import save_networks


def average_backbones(first: AudioEncoder, second: AudioEncoder, share: float = 0.5) -> AudioEncoder:
    """A copy of the first encoder whose backbone lies ``share`` of the way to the second's.

    Raises:
        WeightsError: the encoders are of different kinds or sizes.
    """
    if (first.config.kind, first.config.backbone) != (second.config.kind, second.config.backbone):
        raise WeightsError(
            "the two audio encoders differ in kind or size; average encoders that started from the same "
            "weights."
        )
    mean = copy.deepcopy(first)
    with torch.no_grad():
        for parameter, other in zip(mean.backbone.parameters(), second.backbone.parameters(), strict=True):
            parameter.lerp_(other, share)
    return mean


def average_encoders(networks: Path, other: Path, out: Path, share: float = 0.5) -> Path:
    """Average and write both files of the speech stage.

    Args:
        networks: folder with lip_sync.safetensors and audio_encoder.safetensors.
        other:    audio_encoder.safetensors of another run.
        share:    of the other one, in [0, 1].
    Returns:
        ``out``/lip_sync.safetensors; audio_encoder.safetensors lies beside it.
    Raises:
        WeightsError: a file cannot be loaded, or the encoders are of different kinds or sizes.
    """
    first = load_speech_networks(networks / "lip_sync.safetensors", networks / "audio_encoder.safetensors")
    file = load_checkpoint(other, kind="audio_encoder")
    second = load_into(AudioEncoder(AudioEncoderConfig(**file.config)), file, other.name)
    mean = average_backbones(first.audio_encoder, second, share)
    save_networks(
        SpeechNetworks(mean, first.lip_sync), out, f"Encoder averaged with another run's, {share:.0%} of it."
    )
    return out / "lip_sync.safetensors"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of ``personatalk study encoder-average``."""
    parser.add_argument(
        "--networks",
        type=Path,
        required=True,
        help="folder with lip_sync.safetensors and audio_encoder.safetensors",
    )
    parser.add_argument("--other", type=Path, required=True, help="audio_encoder.safetensors of another run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two new files")
    parser.add_argument("--share", type=float, default=0.5, help="of the other one, 0 to 1")


def run(args: argparse.Namespace, progress: Progress) -> str:
    """Average, and say where the weights are."""
    return str(average_encoders(args.networks, args.other, args.out, args.share))
