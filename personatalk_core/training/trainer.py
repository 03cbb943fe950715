"""The training loop of every network: steps, schedule, averaged weights, validation, resume after a kill.

A network's training is a :class:`TrainingTask`: what a batch is, what the loss, how to validate and what to
keep. :class:`Trainer` does the rest, in one process or in several that share the batches. After each
validation it writes ``state.safetensors``, from which a run goes on that was killed at any moment, and
``history.json`` for people. The state is nested dicts and lists of tensors, numbers and text; nothing is
unpickled.
"""

from __future__ import annotations

import copy
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import cv2
import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from ..errors import WeightsError
from ..types import OnProgress
from ..weights.checkpoint import load_checkpoint, save_checkpoint, write_atomically
from .distributed import Distributed

KIND = "training_state"
STATE_FILE = "state.safetensors"
TENSOR, PAIRS = "__tensor__", "__pairs__"
MAX_NORM = 1.0  # of a step's gradients
LOG_DECAY = 0.95  # of the moving averages of the losses that the history shows
FINAL_LR = 0.05  # of the peak
Batch = TypeVar("Batch")
Model = TypeVar("Model", bound=nn.Module)
Schedule = Callable[[int], float]  # step to the share of the peak learning rate


@dataclass(frozen=True)
class LoopOptions:
    """steps; check_every: steps between validations; ema: share of the averaged weights that a step keeps;
    patience: validations without gain before stopping, None: never; accumulate: batches a step; check_start:
    validate before the first step too."""

    steps: int
    check_every: int
    ema: float
    patience: int | None = None
    accumulate: int = 1
    check_start: bool = False


@dataclass(frozen=True)
class Validation:
    """scores: what the history shows.  value: the higher, the better; None where there is nobody to validate
    on, and the last weights are the best.  grid: rows of pictures (K, H, W, 3) in [0, 1] for people."""

    scores: dict[str, float]
    value: float | None
    grid: Sequence[Tensor] = ()


class TrainingTask(ABC, Generic[Model, Batch]):
    """What is to be trained.

    distributed: this process among those that train.  model: on its device; what the loss asks.  optimiser:
    of its parameters, each group with its peak learning rate.  schedules: of each group.
    """

    distributed: Distributed
    model: Model
    optimiser: torch.optim.Optimizer
    schedules: list[Schedule]

    @abstractmethod
    def batch(self, number: int) -> Batch:
        """The batch of a number, on the device; the same number gives the same batch."""

    @abstractmethod
    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and its terms by name."""

    @abstractmethod
    def validate(self, model: Model) -> Validation:
        """Score the averaged model."""

    def begin_step(self, step: int) -> None:
        """Set which parts learn at a step."""
        self.model.train()

    def end_step(self) -> dict[str, float]:
        """What else learns from a step's batches, such as a discriminator; its losses by name."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs beside model and optimiser."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave."""


class Trainer(Generic[Model, Batch]):
    """Trains a task to its end.

    Args:
        folder: for state, history and grids; what an earlier run left there is gone on from.
    """

    def __init__(self, task: TrainingTask[Model, Batch], options: LoopOptions, folder: Path) -> None:
        self.task, self.options, self.folder = task, options, Path(folder)
        self.distributed = task.distributed
        self.ema = AveragedModel(task.model, multi_avg_fn=warmed_up_ema(options.ema)).eval()
        self.ema.n_averaged.fill_(1)  # the start counts as the first of the weights averaged
        self.stepper = self.distributed.prepare(task.optimiser)
        self.peaks = [group["lr"] for group in task.optimiser.param_groups]
        self.step, self.since_best, self.best = 0, 0, -math.inf
        self.best_state: dict[str, Tensor] | None = None
        self.running: dict[str, float] = {}
        self.history: list[dict[str, float]] = []

    def run(self, on_progress: OnProgress | None = None) -> Model:
        """Train until the steps are done or the patience is.

        Returns:
            the averaged model of the best validation, in eval mode.
        """
        self.resume()
        options, scheduler = self.options, self._scheduler()
        if self.step == 0 and options.check_start:
            self.check()
        while self.step < options.steps and not self.out_of_patience:
            terms = self.train_step()
            scheduler.step()
            for name, value in terms.items():
                self.running[name] = LOG_DECAY * self.running.get(name, value) + (1 - LOG_DECAY) * value
            self.step += 1
            if self.step % options.check_every == 0 or self.step == options.steps:
                self.check()
            if on_progress is not None:
                on_progress(self.step, options.steps)
        if self.best_state is not None:
            self.ema.module.load_state_dict(self.best_state)
        return self.averaged

    @property
    def averaged(self) -> Model:
        """The averaged model, in eval mode."""
        return cast(Model, self.ema.module.eval())

    @property
    def out_of_patience(self) -> bool:
        """Whether validation has not improved for too long."""
        return self.options.patience is not None and self.since_best >= self.options.patience

    def train_step(self) -> dict[str, float]:
        """One step of the optimiser; the mean of each term over its batches."""
        task, count = self.task, self.options.accumulate
        task.begin_step(self.step)
        self.stepper.zero_grad(set_to_none=True)
        losses, logged = [], dict[str, float]()
        for k in range(count):
            number = (self.step * count + k) * self.distributed.count + self.distributed.rank
            loss, terms = task.loss(task.batch(number))
            losses.append(loss / count)
            for name, value in {**terms, "total": loss}.items():
                logged[name] = logged.get(name, 0.0) + float(value.detach()) / count
        learning = (p for p in task.model.parameters() if p.requires_grad)
        self.distributed.backward_and_clip(torch.stack(losses).sum(), learning, MAX_NORM)
        self.stepper.step()
        logged |= task.end_step()
        self.ema.update_parameters(task.model)
        return logged

    def check(self) -> None:
        """Validate the averaged model, keep it where it is the best so far, and save.

        Every process validates, so that all keep the same; the first one writes.
        """
        found = self.task.validate(self.averaged)
        self.history.append({"step": self.step, **self.running, **found.scores})
        value = float(self.step) if found.value is None else found.value
        if value > self.best:
            self.best, self.since_best = value, 0
            self.best_state = copy.deepcopy(self.ema.module.state_dict())
        else:
            self.since_best += 1
        if self.distributed.rank > 0:
            return
        if found.grid:
            write_image_grid(self.folder / "sheets" / f"{self.step:06d}.png", found.grid)
        self.save()

    def save(self) -> None:
        """Write the state, whole or not at all, and the history."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.task.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimiser": self.task.optimiser.state_dict(),
            "task": self.task.state_dict(),
            "step": self.step,
            "since_best": self.since_best,
            "best": self.best,
            "best_state": self.best_state,
            "running": self.running,
            "history": self.history,
        }
        save_state(self.folder / STATE_FILE, state)
        write_atomically(self.folder / "history.json", json.dumps(self.history, indent=1).encode())

    def resume(self) -> None:
        """Put back what :meth:`save` wrote; nothing happens where it wrote nothing.

        Raises:
            WeightsError: the state is damaged, or another release's or network's.
        """
        path = self.folder / STATE_FILE
        if not path.is_file():
            return
        state = load_state(path)
        try:
            self.task.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.task.optimiser.load_state_dict(state["optimiser"])
            self.task.load_state_dict(state["task"])
            self.step, self.since_best, self.best = state["step"], state["since_best"], state["best"]
            self.best_state, self.running = state["best_state"], state["running"]
            self.history = state["history"]
        except (KeyError, RuntimeError, ValueError) as error:
            raise WeightsError(
                f"{path} is of another release or network ({error}); delete it to train from the start."
            ) from error

    def _scheduler(self) -> LambdaLR:
        """The schedule from this step on; peaks are the task's, whatever an earlier run's were."""
        for group, peak in zip(self.task.optimiser.param_groups, self.peaks, strict=True):
            group["lr"] = group["initial_lr"] = peak
        return LambdaLR(self.task.optimiser, self.task.schedules, last_epoch=self.step - 1)


def warmup_cosine(steps: int, warmup: int, begin: int = 0) -> Schedule:
    """Zero until ``begin``, ``warmup`` steps of linear warm-up, and a cosine over all steps that ends at
    FINAL_LR."""

    def share(step: int) -> float:
        if step < begin:
            return 0.0
        warm = min(1.0, (step - begin + 1) / warmup)
        return warm * (FINAL_LR + (1 - FINAL_LR) * 0.5 * (1 + math.cos(math.pi * step / steps)))

    return share


def warmed_up_ema(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """For :class:`AveragedModel`: an exponential moving average that keeps less while it is young."""

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Tensor | int) -> None:
        kept = min(decay, int(count) / (int(count) + 9))
        for old, new in zip(averaged, current, strict=True):
            old.lerp_(new, 1 - kept)

    return update


def write_image_grid(path: Path, rows: Sequence[Tensor]) -> None:
    """Write rows of pictures as one PNG: each row (K, H, W, 3) in [0, 1], all of one shape."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = rearrange(torch.stack(list(rows)), "r k h w c -> (r h) (k w) c")
    pixels = (picture.clamp(0, 1) * 255).round().byte().cpu().numpy()
    cv2.imwrite(str(path), np.ascontiguousarray(pixels[..., ::-1]))


def save_state(path: Path, state: dict) -> None:
    """Write a state, whole or not at all; tensors keep dtype and shape."""
    tensors: dict[str, Tensor] = {}
    layout = _strip(state, tensors)
    save_checkpoint(Path(path), tensors, kind=KIND, config={"state": layout})


def load_state(path: Path) -> dict:
    """Read what :func:`save_state` wrote.

    Raises:
        WeightsError: missing, damaged, or not a training state.
    """
    checkpoint = load_checkpoint(Path(path), kind=KIND)
    try:
        return _restore(checkpoint.config["state"], checkpoint.tensors)
    except (KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} is not a complete training state ({error}); delete it to train from the start."
        ) from error


def _strip(value: object, tensors: dict[str, Tensor]) -> object:
    """The value as JSON, its tensors moved into ``tensors`` under numbers. Dict keys need not be text
    (optimisers use numbers)."""
    if isinstance(value, Tensor):
        name = f"t{len(tensors):06d}"
        tensors[name] = value.detach().clone()
        return {TENSOR: name}
    if isinstance(value, dict):
        return {PAIRS: [[key, _strip(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        return [_strip(item, tensors) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise WeightsError(
        f"a training state holds {type(value).__name__} but expected tensors, numbers, text, dicts and lists."
    )


def _restore(layout: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(layout, dict):
        if TENSOR in layout:
            return tensors[layout[TENSOR]]
        return {key: _restore(item, tensors) for key, item in layout[PAIRS]}
    return [_restore(item, tensors) for item in layout] if isinstance(layout, list) else layout
