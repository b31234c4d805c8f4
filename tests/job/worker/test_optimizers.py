from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from finetuner.api import catalog
from finetuner.api.config import HyperParameters
from finetuner.errors import InvalidInput
from finetuner.job.worker.optimizers import PairedOptimizer, make_optimizer, make_optimizers

RATES = {"Adadelta": 1.0, "SGD": 0.3, "ASGD": 0.3}
"""Those that move little at the others' rate."""


class Loss(nn.Module):
    """How far a model's answer is from one, plus how far the loss's own weights are."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.Linear(4, 2)
        self.proxies = nn.Parameter(torch.randn(3, 2))
        self.inputs = torch.randn(8, 4)

    def forward(self) -> torch.Tensor:
        return (self.model(self.inputs) - 1).square().mean() + (self.proxies - 1).square().mean()


def _steps(loss: Loss, optimizer: torch.optim.Optimizer, count: int = 20) -> list[float]:
    seen = []
    for _ in range(count):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
        seen.append(float(value.detach()))
    return seen


@pytest.mark.parametrize("name", catalog.offered("optimizer"))
def test_every_optimizer_lets_the_loss_fall_and_moves_all_weights(name: str) -> None:
    loss = Loss()
    before = [weights.detach().clone() for weights in loss.parameters()]
    rate = RATES.get(name, 0.03)
    seen = _steps(loss, make_optimizers(loss, HyperParameters(optimizer=name, learning_rate=rate)))
    assert seen[-1] < 0.99 * seen[0]
    assert all(not torch.equal(one, other) for one, other in zip(before, loss.parameters(), strict=True))


@pytest.mark.parametrize("name", catalog.offered("optimizer"))
def test_every_option_is_the_library_s(name: str) -> None:
    entry = catalog.find("optimizer", name)
    made = make_optimizer([nn.Parameter(torch.zeros(2, 2))], name, entry.defaults(), 0.1)
    plain = getattr(torch.optim, name)([nn.Parameter(torch.zeros(2, 2))], lr=0.1)
    assert made.defaults == plain.defaults


def test_options_reach_the_library() -> None:
    weights = [nn.Parameter(torch.zeros(2))]
    adam = make_optimizer(weights, "AdamW", {"betas": [0.5, 0.6], "weight_decay": 0.2}, 3e-4)
    assert (adam.defaults["betas"], adam.defaults["weight_decay"], adam.defaults["lr"]) == ((0.5, 0.6), 0.2, 3e-4)


def test_an_optimizer_that_refuses_a_value_is_named() -> None:
    with pytest.raises(InvalidInput, match="'Adam' refuses its options"):
        make_optimizer([nn.Parameter(torch.zeros(2))], "Adam", {"betas": [2.0, 0.9]}, 1e-3)


def test_a_loss_has_an_optimizer_of_its_own() -> None:
    config = HyperParameters(
        loss="ArcFaceLoss",
        optimizer="Adam",
        learning_rate=1e-3,
        loss_optimizer="SGD",
        loss_optimizer_options={"lr": 0.5, "momentum": 0.9},
    )
    loss = Loss()
    made = make_optimizers(loss, config)
    assert isinstance(made, PairedOptimizer)
    assert [type(part).__name__ for part in made.parts] == ["Adam", "SGD"]
    assert [group["lr"] for group in made.param_groups] == [1e-3, 0.5]
    assert made.parts[1].defaults["momentum"] == 0.9
    seen = _steps(loss, made)
    assert seen[-1] < seen[0]


def test_the_loss_s_own_optimizer_has_the_run_s_rate_where_it_has_none() -> None:
    made = make_optimizers(Loss(), HyperParameters(learning_rate=0.02, loss_optimizer="RMSprop"))
    assert [group["lr"] for group in made.param_groups] == [0.02, 0.02]


def test_two_optimizers_keep_and_take_their_state_as_one() -> None:
    config = HyperParameters(learning_rate=0.03, loss_optimizer="Adam")
    loss = Loss()
    made = make_optimizers(loss, config)
    _steps(loss, made, 3)
    other = Loss()
    other.load_state_dict(loss.state_dict())
    again = make_optimizers(other, config)
    again.load_state_dict(copy.deepcopy(made.state_dict()))
    assert _steps(loss, made, 3) == _steps(other, again, 3)


def test_no_closure_is_called_for_each_of_two() -> None:
    made = make_optimizers(Loss(), HyperParameters(loss_optimizer="Adam"))
    with pytest.raises(ValueError, match="closure"):
        made.step(lambda: 0.0)


def test_a_loss_without_weights_has_no_optimizer() -> None:
    plain = nn.Module()
    plain.model = nn.Linear(2, 2)
    with pytest.raises(InvalidInput, match="no weights of its own"):
        make_optimizers(plain, HyperParameters(loss_optimizer="Adam"))


def test_frozen_weights_stay() -> None:
    loss = Loss()
    loss.model.bias.requires_grad_(requires_grad=False)
    before: dict[str, Any] = {name: weights.detach().clone() for name, weights in loss.named_parameters()}
    _steps(loss, make_optimizers(loss, HyperParameters(learning_rate=0.1)), 2)
    moved = {name for name, weights in loss.named_parameters() if not torch.equal(weights, before[name])}
    assert moved == {"model.weight", "proxies"}
