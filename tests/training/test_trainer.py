"""The one training loop on a line: resume, best, patience, schedule, averaged weights, and its state file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from personatalk_core.errors import WeightsError
from personatalk_core.training.distributed import Distributed
from personatalk_core.training.trainer import (
    LoopOptions,
    Trainer,
    TrainingTask,
    Validation,
    load_state,
    save_state,
    warmed_up_ema,
    warmup_cosine,
)
from personatalk_core.weights.checkpoint import save_checkpoint


def test_nested_values_come_back(tmp_path):
    state = {
        "a": [1, 2.5, None, True, "x"],
        "b": {3: torch.arange(4), "c": torch.tensor(2.0)},
        "d": {},
        "e": [],
    }
    save_state(tmp_path / "s.safetensors", state)
    again = load_state(tmp_path / "s.safetensors")
    assert again["a"] == state["a"] and again["d"] == {} and again["e"] == []
    assert torch.equal(again["b"][3], state["b"][3]) and again["b"]["c"] == 2.0


def step(net: torch.nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    net(torch.ones(2, 3)).square().sum().backward()
    optimiser.step()


def test_an_optimiser_goes_on_from_it(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(net.parameters(), lr=0.1)
    step(net, optimiser)
    save_state(tmp_path / "s.safetensors", {"net": net.state_dict(), "optimiser": optimiser.state_dict()})
    step(net, optimiser)

    other = torch.nn.Linear(3, 2)
    resumed = torch.optim.AdamW(other.parameters(), lr=0.1)
    state = load_state(tmp_path / "s.safetensors")
    other.load_state_dict(state["net"])
    resumed.load_state_dict(state["optimiser"])
    step(other, resumed)
    assert torch.equal(net.weight, other.weight)


def test_what_cannot_be_stored_or_read_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="holds object"):
        save_state(tmp_path / "s.safetensors", {"x": object()})
    assert not list(tmp_path.iterdir())
    save_checkpoint(
        tmp_path / "t.safetensors", {}, kind="training_state", config={"state": {"__tensor__": "t1"}}
    )
    with pytest.raises(WeightsError, match="not a complete training state"):
        load_state(tmp_path / "t.safetensors")


class Line(TrainingTask[torch.nn.Linear, torch.Tensor]):
    """Learns y = 2 x from random x."""

    def __init__(self, values: list[float] | None = None) -> None:
        torch.manual_seed(0)
        self.distributed = Distributed()
        self.model = torch.nn.Linear(1, 1)
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=0.1)
        self.schedules = [warmup_cosine(8, 2)]
        self.values, self.numbers = values, []

    def batch(self, number):
        self.numbers.append(number)
        return torch.randn(4, 1, generator=torch.Generator().manual_seed(number))

    def loss(self, batch):
        error = (self.model(batch) - 2 * batch).square().mean()
        return error, {"error": error}

    def validate(self, model):
        return Validation(
            {"slope": float(model.weight.detach())}, self.values.pop(0) if self.values else None
        )


LOOP = LoopOptions(steps=8, check_every=2, ema=0.9)


def test_a_run_that_was_stopped_gives_the_same_weights(tmp_path):
    whole = Trainer(Line(), LOOP, tmp_path / "whole").run()

    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Trainer(Line(), LOOP, tmp_path / "cut").run(stop)
    again = Trainer(Line(), LOOP, tmp_path / "cut")
    assert torch.equal(again.run().weight, whole.weight) and again.task.numbers == [4, 5, 6, 7]
    assert [entry["step"] for entry in again.history] == [2, 4, 6, 8]
    first, second = (json.loads((tmp_path / n / "history.json").read_text()) for n in ("whole", "cut"))
    assert first == second


def test_the_best_validation_is_kept_and_patience_ends_a_run(tmp_path):
    trainer = Trainer(Line([1.0, 3.0, 2.0, 3.0, 0.0]), replace(LOOP, patience=2), tmp_path)
    best = trainer.run()
    assert trainer.step == 8 and trainer.best == 3.0
    assert float(best.weight.detach()) == trainer.history[1]["slope"] and not best.training
    trainer = Trainer(Line([3.0, 2.0, 1.0, 9.0]), replace(LOOP, patience=2, check_start=True), tmp_path / "p")
    trainer.run()
    assert [entry["step"] for entry in trainer.history] == [0, 2, 4]


def test_batches_of_a_step_are_numbered_on_and_their_losses_averaged(tmp_path):
    trainer = Trainer(Line(), replace(LOOP, steps=2, accumulate=3), tmp_path)
    trainer.run()
    assert trainer.task.numbers == [0, 1, 2, 3, 4, 5]


def test_the_schedule_waits_warms_up_and_ends_at_a_twentieth():
    share = warmup_cosine(100, 10, begin=20)
    assert share(19) == 0.0 and share(20) == pytest.approx(0.1 * warmup_cosine(100, 1)(20))
    assert share(40) == warmup_cosine(100, 1)(40) > share(90) > share(100) == pytest.approx(0.05)


def test_the_moving_average_keeps_less_while_it_is_young():
    averaged, current = [torch.zeros(2)], [torch.ones(2)]
    warmed_up_ema(0.9)(averaged, current, 1)
    assert torch.allclose(averaged[0], torch.tensor(0.9))
    warmed_up_ema(0.9)(averaged, [torch.zeros(2)], 1000)
    assert torch.allclose(averaged[0], torch.tensor(0.81))


def test_a_state_of_another_network_is_refused(tmp_path):
    Trainer(Line(), LOOP, tmp_path).save()
    other = Line()
    other.model = torch.nn.Linear(2, 1)
    with pytest.raises(WeightsError, match="delete it to train from the start"):
        Trainer(other, LOOP, tmp_path).run()
