"""Train the renderer from a folder of videos: ``personatalk train renderer --data DIR``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import OptionsError
from ..geometry.face_model import FaceModel, load_face_model
from ..media.video_reader import VideoReader
from ..rendering.renderer import RendererConfig, build_renderer, save_renderer
from ..types import OnProgress
from .preparation import prepare_folder
from .renderer_data import PreparedClip, hold_out_speakers, load_clip, prepare_clip
from .renderer_loop import RendererTrainer, RendererTraining

LICENCE = "Apache-2.0"
HELD_OUT_SHARE = 0.15


def train_renderer(
    data: Path, out: Path, *, steps: int | None = None, seed: int = 0, options: RendererTraining | None = None,
    config: RendererConfig | None = None, face_model: FaceModel | None = None, held_out: set[str] | None = None,
    on_progress: OnProgress | None = None,
) -> Path:  # fmt: skip
    """Train a renderer and write ``renderer.safetensors``.

    Paper: 3.2 and 4.1. What was prepared and trained so far is kept in ``out``, so an interrupted run goes on.
    Args:
        data:     folder of videos, or of clips prepared before (``*.safetensors``).
        out:      folder for prepared clips, sheets, history, state and the weights.
        steps:    training steps; None: the recipe's.
        held_out: speakers used for validation only; None: some are drawn.
    Returns:
        the weights' path.
    Raises:
        OptionsError: too few speakers.
    """
    face_model = face_model or load_face_model()
    options = replace(options or RendererTraining(), seed=seed, **({"steps": steps} if steps else {}))
    clips = prepared_clips(Path(data), Path(out) / "clips", face_model)
    speakers = sorted({clip.speaker for clip in clips})
    if len(speakers) < 2:
        raise OptionsError(f"{data} holds usable clips of {len(speakers)} speakers but at least 2 are needed: one is kept for validation.")
    held = held_out if held_out is not None else set(speakers[:: max(2, round(1 / HELD_OUT_SHARE))])
    training, validation = hold_out_speakers(clips, held)
    trainer = RendererTrainer(build_renderer(config or RendererConfig(), seed), face_model, training, validation, options, Path(out))
    renderer = trainer.run(on_progress)
    target = Path(out) / "renderer.safetensors"
    save_renderer(target, renderer, licence=LICENCE, card=card(trainer))
    return target


def prepared_clips(data: Path, cache: Path, face_model: FaceModel, on_progress: OnProgress | None = None) -> list[PreparedClip]:
    """Prepared clips of a folder; videos are tracked, fitted and cut first, and kept in ``cache``."""
    ready = sorted(data.glob("*.safetensors"))
    if ready:
        return [load_clip(path) for path in ready]
    tracked, _ = prepare_folder(data, cache / "tracked", face_model, on_progress)
    clips = []
    for clip in tracked:
        target = cache / f"{clip.name}.safetensors"
        if target.is_file():
            clips.append(load_clip(target))
            continue
        made = prepare_clip(VideoReader(clip.path).frames, clip.geometry, face_model, target, speaker=clip.speaker)
        clips += [made] if made is not None else []
    return clips


def card(trainer: RendererTrainer) -> str:
    """Model card text: recipe and the numbers on held-out speakers."""
    best = max(trainer.history, key=lambda entry: entry["psnr_face"] + entry["psnr_lips"])
    size = sum(parameter.numel() for parameter in trainer.model.parameters())
    return (
        f"Dual-attention renderer, variant {trainer.model.config.variant}, {size} parameters. "
        f"Trained {trainer.step} steps with L1, gradient and Laplacian pyramid losses on self-reconstruction from references at least "
        f"{trainer.options.references.exclude_window} frames away; chosen at step {best['step']} by speakers held out of training: "
        f"{best['psnr_face']:.2f} dB in the face, {best['psnr_lips']:.2f} dB around the lips."
    )
