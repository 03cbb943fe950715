"""Train the speech stage from a folder of videos: ``personatalk train speech --data DIR --out DIR``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...errors import OptionsError
from ...geometry.face_model import FaceModel, load_face_model
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
from ..data.preparation import PreparedClip, prepare_folder
from ..distributed import Accelerated, OneProcess
from .av_offset import estimate_lags
from .calibration import calibrate
from .clips import SpeechClip, hold_out_speakers
from .loop import SpeechTrainer, SpeechTraining
from .losses import MouthMeasure
from .noise_distillation import HearingTrainer
from .recipe import read_recipe

MIN_CLIP_FRAMES = 40
HUBERT = "facebook/hubert-base-ls960"


def train_speech(
    data: Path,
    out: Path,
    on_progress: OnProgress | None = None,
    *,
    seed: int = 0,
    steps: int | None = None,
    options: SpeechTraining | None = None,
    recipe: Path | None = None,
    encoder: str = "moonshine",
    encoder_weights: Path | str | None = None,
    hold_out: Sequence[str] = (),
    accelerate: bool = False,
    face_model: FaceModel | None = None,
) -> Path:
    """Prepare, train, choose and save; a killed run goes on where it was when called again with the same
    folders.

    Paper: 3.1 (losses and schedule are not in the paper).
    Args:
        data:    folder of videos of talking people; see ``preparation`` for how speakers are named.
        out:     folder for the cache, the state, ``history.json``, ``curves.png`` and the two weight files.
        on_progress: first videos prepared, then steps done, of one stage after the other.
        seed:    of everything random; the same seed, data and machine give the same weights.
        steps:   overrides the recipe's; at most as many in the stage that learns to hear through noise.
        options: the recipe; None reads it from ``recipe``.
        recipe:  JSON file of options; None is the one of the bundled weights.
        encoder: ``moonshine`` or ``hubert``.
        encoder_weights: what to start from: a Moonshine-tiny encoder in safetensors, or a HuBERT folder or
            Hub repository;
            None starts from the bundled Moonshine, which is already fine-tuned, or from
        ``facebook/hubert-base-ls960``.
        hold_out: speakers who choose the checkpoint and are never trained on; none draws a share of them.
        accelerate: this is one of the processes that ``accelerate launch`` started; see ``processes``.
    Returns:
        ``out``/lip_sync.safetensors; audio_encoder.safetensors lies beside it.
    Raises:
        OptionsError: no usable video with speech.
        WeightsError: the encoder cannot be loaded.
    """
    out = Path(out)
    processes = Accelerated() if accelerate else OneProcess()
    options = replace(options or read_recipe(recipe), seed=seed)
    if steps:
        options = replace(
            options, steps=steps, hearing=replace(options.hearing, steps=min(steps, options.hearing.steps))
        )
    options = replace(options, hold_out=tuple(hold_out)) if hold_out else options
    face_model = face_model or load_face_model()
    with processes.first():
        prepared, left_out = prepare_folder(data, out / "cache", face_model, on_progress)
    torch.manual_seed(seed)  # the encoder's projection is new
    audio_encoder = start_encoder(encoder, encoder_weights)
    clips = speech_clips(prepared, face_model, audio_encoder, lags=planned_lags(out))
    if not clips:
        raise OptionsError(
            f"none of the {len(prepared)} videos with a face in {data} has speech on its sound track; "
            "film a talker."
        )
    training, validation = hold_out_speakers(clips, options.held_out_share, seed, options.hold_out)
    if processes.rank == 0:
        write_plan(out, training, validation, left_out)
    torch.manual_seed(seed)
    networks = SpeechNetworks(
        audio_encoder, network_for(face_model, width=audio_encoder.config.width, dropout=options.dropout)
    )
    trainer = SpeechTrainer(networks, face_model, training, validation, options, out, processes)
    on_progress = on_progress if processes.rank == 0 else None
    best = finish(
        trainer.run(on_progress), face_model, training, validation, options, out, processes, on_progress
    )
    if processes.rank > 0:
        return out / "lip_sync.safetensors"
    from .curves import draw_curves

    draw_curves(trainer.history, out / "curves.png")
    save_speech_networks(
        best.audio_encoder.cpu(),
        best.lip_sync.cpu(),
        out / "lip_sync.safetensors",
        out / "audio_encoder.safetensors",
    )
    return out / "lip_sync.safetensors"


def finish(
    networks: SpeechNetworks,
    face_model: FaceModel,
    training: list[SpeechClip],
    validation: list[SpeechClip],
    options: SpeechTraining,
    out: Path,
    processes: OneProcess | None = None,
    on_progress: OnProgress | None = None,
) -> SpeechNetworks:
    """The stages after the loop: the encoder learns to hear through noise (``out``/hearing), then styles are
    calibrated."""
    if options.hearing.steps:
        trainer = HearingTrainer(
            networks,
            face_model,
            training,
            validation,
            options.hearing,
            out / "hearing",
            options.seed,
            processes,
        )
        networks = trainer.run(on_progress)
    return calibrate(networks, training, face_model, options.reference)


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
            name: float(row["lag"]) for part in ("training", "validation") for name, row in plan[part].items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write_plan(
    out: Path, training: list[SpeechClip], validation: list[SpeechClip], left_out: dict[str, str]
) -> None:
    """What is trained on, what is held out, what was left out and why, and each clip's lag."""
    plan = {
        "training": {c.name: {"speaker": c.speaker, "lag": round(c.lag, 3)} for c in training},
        "validation": {c.name: {"speaker": c.speaker, "lag": round(c.lag, 3)} for c in validation},
        "left_out": left_out,
    }
    write_atomically(out / "clips.json", json.dumps(plan, indent=1, sort_keys=True).encode())
