"""Fits the ridge regression that the speech stage is measured against, and that finds the lags of clips.

python -m personatalk_core.training.speech.ridge --data TRAIN --out FOLDER --pretrained FILE
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ...errors import OptionsError
from ...evaluation.studies.speech_ridge import SpeechRidge, ridge_features, save_speech_ridge
from ...geometry.face_model import FaceModel, load_face_model
from ...speech.audio_encoder import AudioEncoder, from_moonshine
from ..data.preparation import prepare_folder
from .clips import SpeechClip
from .losses import MouthMeasure
from .train import speech_clips

RIDGE = 2e4


def train_speech_ridge(data: Path, out: Path, pretrained: Path, face_model: FaceModel | None = None) -> Path:
    """Prepare a folder of talking people, correct their lags, fit, and write
    ``out``/speech_ridge.safetensors.

    Raises:
        OptionsError: nobody speaks.  WeightsError: ``pretrained`` is no Moonshine encoder.
    """
    out, face_model = Path(out), face_model or load_face_model()
    encoder = from_moonshine(Path(pretrained)).eval()
    prepared, _ = prepare_folder(data, out / "cache", face_model)
    clips = speech_clips(prepared, face_model, encoder)
    ridge = fit_speech_ridge(clips, encoder, face_model)
    card = (
        f"Ridge regression of mouth and lower face on frozen Moonshine-tiny features; {len(clips)} "
        "training clips, lags corrected."
    )
    save_speech_ridge(out / "speech_ridge.safetensors", ridge, card)
    return out / "speech_ridge.safetensors"


@torch.inference_mode()
def fit_speech_ridge(
    clips: Sequence[SpeechClip], encoder: AudioEncoder, face_model: FaceModel, strength: float = RIDGE
) -> SpeechRidge:
    """Ridge regression from features, ``lag`` frames earlier, to opening, width and lower expression less
    their means over the clip.

    Raises:
        OptionsError: no clip has two usable frames with sound.
    """
    measure = MouthMeasure(face_model)
    inputs, targets = [], []
    for clip in clips:
        heard = torch.arange(clip.frame_count) - round(clip.lag)
        use = clip.valid & (heard >= 0) & (heard < clip.frame_count)
        if int(use.sum()) < 2:
            continue
        opening, width = (x[0] for x in measure(clip.expression[None], clip.identity[None]))
        wanted = torch.cat((opening[:, None], width[:, None], clip.expression), dim=1)[use]
        features = ridge_features(torch.from_numpy(clip.samples), clip.frame_count, encoder)
        inputs.append(features[heard[use]])
        targets.append(wanted - wanted.mean(0))
    if not inputs:
        raise OptionsError("no clip has usable frames with sound; pass videos of talking people.")
    x, y = torch.cat(inputs), torch.cat(targets)
    mean, scale = x.mean(0), x.std(0) + 1e-6
    x = (x - mean) / scale
    gram = x.T @ x + strength * torch.eye(x.shape[1])
    return SpeechRidge(torch.linalg.solve(gram, x.T @ y), mean, scale, face_model.sha256)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit from a folder of videos and print where the weights are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of training videos")
    parser.add_argument("--out", type=Path, required=True, help="folder for the cache and the weights")
    parser.add_argument(
        "--pretrained", type=Path, required=True, help="Moonshine-tiny's encoder as released, safetensors"
    )
    chosen = parser.parse_args(arguments)
    sys.stdout.write(f"{train_speech_ridge(chosen.data, chosen.out, chosen.pretrained)}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
