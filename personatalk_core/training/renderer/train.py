"""Train the renderer from a folder of videos: ``personatalk train renderer --data DIR``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...errors import OptionsError
from ...geometry.face_model import FaceModel, load_face_model
from ...media.video_reader import VideoReader
from ...models import choose_device
from ...rendering.renderer import RendererConfig, build_renderer, save_renderer
from ...types import OnProgress
from ..data.hold_out import split_by_speaker
from ..data.preparation import prepare_folder, set_aside
from ..distributed import Distributed
from ..recipe import TRAIN_DEFAULTS, TrainOptions, read_recipe
from ..trainer import Trainer
from .data import PreparedClip, load_clip, prepare_clip
from .losses import RendererLossWeights
from .task import RendererTask, RendererTraining

LICENCE = "Apache-2.0"
CLIPS_A_SPEAKER = 4  # the longest ones; more of one person teach little
FRAMES_A_CLIP = 60
LOSS_TERMS = ("pixel", "gradient", "pyramid", "perceptual", "adversarial")


def train_renderer(
    data: Path,
    out: Path,
    options: TrainOptions = TRAIN_DEFAULTS,
    on_progress: OnProgress | None = None,
    *,
    recipe: RendererTraining | None = None,
    config: RendererConfig | None = None,
    face_model: FaceModel | None = None,
) -> Path:
    """Train a renderer and write ``renderer.safetensors``.

    Paper: 3.2 and 4.1. What was prepared and trained so far is kept in ``out``, so an interrupted run goes
        on.
    Args:
        data:   folder of videos, or of clips prepared before (``*.safetensors``).
        out:    folder for prepared clips, sheets, history, state and the weights.
        recipe: of the loop, in place of the file that ``options`` names.
    Returns:
        the weights' path.
    Raises:
        OptionsError: too few speakers.
    """
    out, face_model = Path(out), face_model or load_face_model()
    recipe = renderer_recipe(options, recipe)
    distributed = Distributed(choose_device(options.device))
    with distributed.main_process_first():
        clips = prepared_clips(Path(data), out / "clips", face_model)
    speakers = {clip.speaker for clip in clips}
    if len(speakers) < 2:
        raise OptionsError(
            f"{data} holds usable clips of {len(speakers)} speakers but at least 2 are needed: one is kept "
            "for validation."
        )
    split = split_by_speaker(clips, options.hold_out, set_aside=set_aside(data))
    start = build_renderer(config or RendererConfig(), recipe.seed)
    task = RendererTask(start, face_model, *split, recipe, distributed)
    trainer = Trainer(task, recipe.loop, out)
    renderer = trainer.run(on_progress if distributed.rank == 0 else None).requires_grad_(False)
    target = out / "renderer.safetensors"
    if distributed.rank == 0:
        save_renderer(target, renderer, licence=LICENCE, card=card(trainer, recipe))
    return target


def renderer_recipe(options: TrainOptions, recipe: RendererTraining | None = None) -> RendererTraining:
    """The recipe of the options, with their seed and steps."""
    if recipe is None:
        recipe = RendererTraining()
        recipe = read_recipe(options.recipe, recipe) if options.recipe else recipe
    return replace(recipe, seed=options.seed, steps=options.steps or recipe.steps)


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


def card(trainer: Trainer, recipe: RendererTraining) -> str:
    """Model card text: recipe and the numbers on held-out speakers."""
    best = max(trainer.history, key=lambda entry: entry["psnr_face"] + entry["psnr_lips"])
    model = trainer.task.model
    size = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"Dual-attention renderer, variant {model.config.variant}, {size} parameters. Trained "
        f"{trainer.step} steps with {losses_of(recipe.loss)} losses on self-reconstruction from references "
        f"at least {recipe.references.exclude_window} frames away; chosen at step {best['step']} by "
        f"speakers held out of training: {best['psnr_face']:.2f} dB in the face, {best['psnr_lips']:.2f} "
        "dB around the lips."
    )
