"""Two fine-tunings of one pretrained encoder averaged into one: what the bundled encoder is.

    python -m personatalk_core.training.speech.encoder_average --networks DIR --other AUDIO_ENCODER --out DIR
    [--share 0.5]

Weights that started from one point and were tuned apart often do better averaged than each alone (Wortsman et
al. 2022, "Model soups"); the head and the projection stay those of ``networks``.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ...errors import WeightsError
from ...speech.audio_encoder import AudioEncoder, AudioEncoderConfig
from ...speech.networks import load_speech_networks, save_speech_networks
from ...weights.checkpoint import load_checkpoint, load_into


def average_backbones(first: AudioEncoder, second: AudioEncoder, share: float = 0.5) -> AudioEncoder:
    """A copy of the first encoder whose backbone lies ``share`` of the way to the second's.

    Raises:
        WeightsError: the encoders are of different kinds or sizes.
    """
    if (first.config.kind, first.config.backbone) != (second.config.kind, second.config.backbone):
        raise WeightsError(
            "the two audio encoders differ in kind or size; average encoders that started from the "
            "same weights."
        )
    mean = copy.deepcopy(first)
    with torch.no_grad():
        for own, other in zip(mean.backbone.parameters(), second.backbone.parameters(), strict=True):
            own.lerp_(other, share)
    return mean


def main(arguments: Sequence[str] | None = None) -> int:
    """Average and write both files of the speech stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--networks",
        type=Path,
        required=True,
        help="folder with lip_sync.safetensors and audio_encoder.safetensors",
    )
    parser.add_argument("--other", type=Path, required=True, help="audio_encoder.safetensors of another run")
    parser.add_argument("--out", type=Path, required=True, help="folder for the two new files")
    parser.add_argument("--share", type=float, default=0.5, help="of the other one, 0 to 1")
    chosen = parser.parse_args(arguments)
    networks = load_speech_networks(
        chosen.networks / "lip_sync.safetensors", chosen.networks / "audio_encoder.safetensors"
    )
    file = load_checkpoint(chosen.other, kind="audio_encoder")
    other = load_into(AudioEncoder(AudioEncoderConfig(**file.config)), file, chosen.other.name)
    mean = average_backbones(networks.audio_encoder, other, chosen.share)
    chosen.out.mkdir(parents=True, exist_ok=True)
    paths = chosen.out / "lip_sync.safetensors", chosen.out / "audio_encoder.safetensors"
    save_speech_networks(
        mean,
        networks.lip_sync,
        *paths,
        card=f"Encoder averaged with another run's, {chosen.share:.0%} of it.",
    )
    sys.stdout.write(f"{paths[0]}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
