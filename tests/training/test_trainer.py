"""A training state comes back as it was, and an optimiser goes on from it as if nothing had happened."""

from __future__ import annotations

import pytest
import torch

from personatalk_core.errors import WeightsError
from personatalk_core.training.trainer import load_state, save_state
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
