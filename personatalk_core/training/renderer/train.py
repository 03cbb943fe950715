"""Train the renderer from a folder of videos: ``personatalk train renderer --data DIR``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

from ...errors import OptionsError
from ...geometry.face_model import FaceModel, load_face_model
from ...media.video_reader import VideoReader
from ...models import choose_device
from ...rendering.renderer import RendererConfig, build_renderer, save_renderer
from ...types import OnProgress
from ..data.preparation import prepare_folder
from ..distributed import Accelerated, OneProcess
from .data import PreparedClip, hold_out_speakers, load_clip, prepare_clip
from .loop import RendererTrainer, RendererTraining
from .losses import RendererLossWeights

LICENCE = "Apache-2.0"
HELD_OUT_SHARE = 0.15
CLIPS_A_SPEAKER = 4  # the longest ones; more of one person teach little
FRAMES_A_CLIP = 60
LOSS_TERMS = ("pixel", "gradient", "pyramid", "perceptual", "adversarial")


def train_renderer(
    data: Path,
    out: Path,
    *,
    steps: int | None = None,
    seed: int = 0,
    options: RendererTraining | None = None,
    config: RendererConfig | None = None,
    face_model: FaceModel | None = None,
    hold_out: Sequence[str] | None = None,
    recipe: Path | None = None,
    accelerate: bool = False,
    device: str = "auto",
    on_progress: OnProgress | None = None,
) -> Path:
    """Train a renderer and write ``renderer.safetensors``.

    Paper: 3.2 and 4.1. What was prepared and trained so far is kept in ``out``, so an interrupted run goes
        on.
    Args:
        data:     folder of videos, or of clips prepared before (``*.safetensors``).
        out:      folder for prepared clips, sheets, history, state and the weights.
        steps:    training steps; None: the recipe's.
        recipe:   JSON of :class:`RendererTraining` options, in place of ``options``.
        accelerate: this is one of the processes that ``accelerate launch`` started; see ``processes``.
        device:   where to train alone, of ``choose_device``: the host's GPU where there is one.
        hold_out: speakers used for validation only; None: some are drawn.
    Returns:
        the weights' path.
    Raises:
        OptionsError: too few speakers.
    """
    face_model = face_model or load_face_model()
    options = replace(
        options or (read_recipe(recipe) if recipe else RendererTraining()),
        seed=seed,
        **({"steps": steps} if steps else {}),
    )
    processes = Accelerated() if accelerate else OneProcess(choose_device(device))
    with processes.first():
        clips = prepared_clips(Path(data), Path(out) / "clips", face_model)
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2:
        raise OptionsError(
            f"{data} holds usable clips of {len(speakers)} speakers but at least 2 are needed: one is "
            "kept for validation."
        )
    held = set(hold_out) if hold_out is not None else set(speakers[:: max(2, round(1 / HELD_OUT_SHARE))])
    training, validation = hold_out_speakers(clips, held)
    if not training or not validation:
        kept = f"{len(training)} clips to train on and {len(validation)} to validate"
        raise OptionsError(
            f"holding out {', '.join(sorted(held))} leaves {kept}; the speakers are {', '.join(speakers)}."
        )
    start = build_renderer(config or RendererConfig(), seed)
    trainer = RendererTrainer(start, face_model, training, validation, options, Path(out), processes)
    renderer = trainer.run(on_progress if processes.rank == 0 else None)
    target = Path(out) / "renderer.safetensors"
    if processes.rank == 0:
        save_renderer(target, renderer, licence=LICENCE, card=card(trainer))
    return target


def read_recipe(path: Path) -> RendererTraining:
    """Options of the loop from a JSON object; what it leaves out keeps its default.

    Raises:
        OptionsError: the file cannot be read, or names an option that does not exist.
    """
    try:
        wanted = json.loads(Path(path).read_text(encoding="utf-8"))
        nested = {
            name: replace(getattr(RendererTraining(), name), **wanted.pop(name))
            for name in ("loss", "references")
            if name in wanted
        }
        return RendererTraining(**wanted, **nested)
    except (OSError, ValueError, AttributeError) as error:
        raise OptionsError(
            f"the recipe {path} cannot be read ({error}); pass a JSON object of options."
        ) from error
    except TypeError as error:
        known = ", ".join(f.name for f in fields(RendererTraining))
        raise OptionsError(
            f"the recipe {path} names an option that does not exist ({error}); the options are {known}."
        ) from error


def prepared_clips(
    data: Path, cache: Path, face_model: FaceModel, on_progress: OnProgress | None = None
) -> list[PreparedClip]:
    """Prepared clips of a folder; videos are tracked, fitted and cut first, and kept in ``cache``."""
    ready = sorted(data.glob("*.safetensors"))
    if ready:
        return [load_clip(path) for path in ready]
    tracked, _ = prepare_folder(data, cache / "tracked", face_model, on_progress)
    tracked.sort(key=lambda clip: -clip.geometry.frame_count)
    clips: list[PreparedClip] = []
    for clip in tracked:
        if sum(made.speaker == clip.speaker for made in clips) == CLIPS_A_SPEAKER:
            continue
        target = cache / f"{clip.name}.safetensors"
        if target.is_file():
            clips.append(load_clip(target))
            continue
        made = prepare_clip(
            VideoReader(clip.path).frames,
            clip.geometry,
            face_model,
            target,
            speaker=clip.speaker,
            limit=FRAMES_A_CLIP,
        )
        clips += [made] if made is not None else []
    return clips


def losses_of(weights: RendererLossWeights) -> str:
    """The terms that count, in words."""
    names = {"pixel": "L1", "pyramid": "Laplacian pyramid", "perceptual": "steerable filter"}
    used = [names.get(name, name) for name in LOSS_TERMS if getattr(weights, name)]
    return " and ".join([", ".join(used[:-1]), used[-1]] if len(used) > 1 else used)


def card(trainer: RendererTrainer) -> str:
    """Model card text: recipe and the numbers on held-out speakers."""
    best = max(trainer.history, key=lambda entry: entry["psnr_face"] + entry["psnr_lips"])
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    return (
        f"Dual-attention renderer, variant {trainer.model.config.variant}, {size} parameters. "
        f"Trained {trainer.step} steps with {losses_of(trainer.options.loss)} losses on "
        "self-reconstruction from references at least "
        f"{trainer.options.references.exclude_window} frames away; chosen at step {best['step']} by "
        "speakers held out of training: "
        f"{best['psnr_face']:.2f} dB in the face, {best['psnr_lips']:.2f} dB around the lips."
    )
