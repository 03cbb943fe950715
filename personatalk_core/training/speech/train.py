"""Train the speech stage from a folder of videos: ``personatalk train speech --data DIR --out DIR``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from ...errors import OptionsError
from ...geometry.face_model import FaceModel, load_face_model
from ...models import choose_device
from ...speech.audio_encoder import AudioEncoder, AudioEncoderConfig, from_hubert, from_moonshine
from ...speech.networks import (
    BUNDLED_AUDIO_ENCODER,
    SpeechNetworks,
    load_speech_networks,
    network_for,
    save_speech_networks,
)
from ...speech.timeline import at_model_rate
from ...types import OnProgress
from ...weights.checkpoint import write_atomically
from ..data.hold_out import split_by_speaker
from ..data.preparation import PreparedClip, prepare_folder, set_aside
from ..distributed import Distributed
from ..recipe import TRAIN_DEFAULTS, TrainOptions, read_recipe
from ..trainer import Trainer
from .av_offset import estimate_lags
from .calibration import calibrate
from .data import SpeechClip
from .losses import MouthMeasure
from .noise_distillation import DistillationTask
from .scores import draw_curves
from .task import BUNDLED_RECIPE, SpeechTask, SpeechTraining

MIN_CLIP_FRAMES = 40
HUBERT = "facebook/hubert-base-ls960"
Split = tuple[list[SpeechClip], list[SpeechClip]]  # to train on, to validate on


def train_speech(
    data: Path,
    out: Path,
    options: TrainOptions = TRAIN_DEFAULTS,
    on_progress: OnProgress | None = None,
    *,
    recipe: SpeechTraining | None = None,
    face_model: FaceModel | None = None,
) -> Path:
    """Prepare, train, choose and save; a killed run goes on where it was when called again with the same
    folders.

    Paper: 3.1 (losses and schedule are not in the paper).
    Args:
        data:    folder of videos of talking people; see ``preparation`` for how speakers are named.
        out:     folder for the cache, the state, ``history.json``, ``curves.png`` and the two weight files.
        options: steps override the recipe's; at most as many in the stage that learns to hear through noise.
        on_progress: first videos prepared, then steps done, of one stage after the other.
        recipe:  of the loop, in place of the file that ``options`` names.
    Returns:
        ``out``/lip_sync.safetensors; audio_encoder.safetensors lies beside it.
    Raises:
        OptionsError: no usable video with speech.
        WeightsError: the encoder cannot be loaded.
    """
    out = Path(out)
    recipe = speech_recipe(options, recipe)
    distributed = Distributed(speech_device(options.device))
    face_model = face_model or load_face_model()
    # the clips
    with distributed.main_process_first():
        prepared, left_out = prepare_folder(data, out / "cache", face_model, on_progress)
    torch.manual_seed(recipe.seed)  # the encoder's projection is new
    audio_encoder = start_encoder(options.encoder, options.encoder_weights)
    clips = speech_clips(prepared, face_model, audio_encoder, lags=planned_lags(out))
    if not clips:
        raise OptionsError(
            f"none of the {len(prepared)} videos with a face in {data} has speech on its sound track; film "
            "a talker."
        )
    split = split_speech(data, clips, recipe)
    if distributed.rank == 0:
        write_plan(out, split, left_out)
    # the networks, and the stages after their training
    torch.manual_seed(recipe.seed)
    networks = SpeechNetworks(
        audio_encoder, network_for(face_model, width=audio_encoder.config.width, dropout=recipe.dropout)
    )
    on_progress = on_progress if distributed.rank == 0 else None
    task = SpeechTask(networks, face_model, *split, recipe, distributed)
    trainer = Trainer(task, recipe.loop, out)
    networks = task.result(trainer.run(on_progress))
    networks = finish(networks, face_model, split, recipe, out, distributed, on_progress)
    # the files
    if distributed.rank == 0:
        save_networks(networks, out)
        draw_curves(trainer.history, out / "curves.png")
    return out / "lip_sync.safetensors"


def speech_recipe(options: TrainOptions, recipe: SpeechTraining | None = None) -> SpeechTraining:
    """The recipe of the options, the bundled one where they name none, with their seed, steps and
    speakers."""
    recipe = recipe or read_recipe(options.recipe or BUNDLED_RECIPE, SpeechTraining())
    recipe = replace(recipe, seed=options.seed, hold_out=tuple(options.hold_out) or recipe.hold_out)
    if not options.steps:
        return recipe
    second = recipe.noise_distillation
    second = replace(second, steps=min(options.steps, second.steps))
    return replace(recipe, steps=options.steps, noise_distillation=second)


def speech_device(name: str) -> torch.device:
    """Where the speech stage trains: ``auto`` takes a CUDA device where there is one, and no other GPU, on
    which it has not been tried."""
    device = choose_device(name)
    return torch.device("cpu") if name == "auto" and device.type != "cuda" else device


def split_speech(data: Path, clips: list[SpeechClip], recipe: SpeechTraining) -> Split:
    """Who is trained on and who chooses the checkpoint. Raises OptionsError as ``split_by_speaker`` does."""
    return split_by_speaker(clips, recipe.hold_out, recipe.held_out_share, set_aside(data))


def finish(
    networks: SpeechNetworks,
    face_model: FaceModel,
    split: Split,
    recipe: SpeechTraining,
    out: Path,
    distributed: Distributed | None = None,
    on_progress: OnProgress | None = None,
) -> SpeechNetworks:
    """The stages after the loop: the encoder learns to hear through noise (``out``/hearing), then styles are
    calibrated."""
    if recipe.noise_distillation.steps:
        task = DistillationTask(
            networks, face_model, *split, recipe.noise_distillation, recipe.seed, distributed
        )
        trainer = Trainer(task, recipe.noise_distillation.loop, out / "hearing")
        networks = task.result(trainer.run(on_progress))
    return calibrate(networks, split[0], face_model, recipe.reference)


def save_networks(networks: SpeechNetworks, out: Path, card: str = "") -> None:
    """Write the two files of the speech stage into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    paths = out / "lip_sync.safetensors", out / "audio_encoder.safetensors"
    save_speech_networks(networks.audio_encoder.cpu(), networks.lip_sync.cpu(), *paths, card=card)


def start_encoder(kind: str, weights: Path | str | None) -> AudioEncoder:
    """The pretrained encoder to fine-tune. See :func:`train_speech`."""
    if kind == "hubert":
        return from_hubert(weights or HUBERT)
    if kind != "moonshine":
        raise OptionsError(f"audio encoder is '{kind}' but expected moonshine or hubert.")
    if weights is not None:
        return from_moonshine(Path(weights))
    bundled = load_speech_networks(audio_encoder=BUNDLED_AUDIO_ENCODER).audio_encoder
    fresh = AudioEncoder(AudioEncoderConfig(**vars(bundled.config)))
    fresh.backbone.load_state_dict(bundled.backbone.state_dict())
    return fresh


def speech_clips(
    prepared: list[PreparedClip],
    face_model: FaceModel,
    encoder: AudioEncoder,
    lags: dict[str, float] | None = None,
) -> list[SpeechClip]:
    """The clips with speech, at 25 fps; lags, stated or not, are refined to fractions of a frame by the clips
    themselves.

    lags: by clip name, found in an earlier run; where every clip has one, they are taken as they are.
    """
    clips = []
    for item in prepared:
        expression, usable = at_model_rate(item.geometry)
        if item.samples is None or int(usable.sum()) < MIN_CLIP_FRAMES:
            continue
        lower, identity = expression[:, : face_model.lower_count], item.geometry.identity
        clips.append(
            SpeechClip(item.name, item.speaker, item.samples, lower, usable, identity, item.lag or 0.0)
        )
    if lags and all(clip.name in lags for clip in clips):
        return [replace(clip, lag=lags[clip.name]) for clip in clips]
    return estimate_lags(clips, encoder.eval(), MouthMeasure(face_model))


def planned_lags(out: Path) -> dict[str, float]:
    """What ``write_plan`` wrote in an earlier run with the same folder; a resumed run does not look for lags
    again."""
    try:
        plan = json.loads((out / "clips.json").read_text(encoding="utf-8"))
        return {
            name: float(row["lag"])
            for split in ("training", "validation")
            for name, row in plan[split].items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_plan(out: Path, split: Split, left_out: dict[str, str]) -> None:
    """What is trained on, what is held out, what was left out and why, and each clip's lag."""
    training, validation = split
    plan = {
        "training": {c.name: {"speaker": c.speaker, "lag": round(c.lag, 3)} for c in training},
        "validation": {c.name: {"speaker": c.speaker, "lag": round(c.lag, 3)} for c in validation},
        "left_out": left_out,
    }
    write_atomically(out / "clips.json", json.dumps(plan, indent=1, sort_keys=True).encode())
