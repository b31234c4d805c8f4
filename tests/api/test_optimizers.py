"""The limits of optimizers' options, held against torch itself."""

from __future__ import annotations

import importlib
import itertools
from typing import Any

import pytest
import torch

from finetuner.api import catalog
from finetuner.api.checks import check_config
from finetuner.api.config import DataConfig, HyperParameters, ModelConfig, TrainingConfig
from finetuner.api.optimizers import optimizer_errors
from finetuner.errors import InvalidInput

NUMBERS = [-1, -0.5, 0, 0.5, 1, 1.5, 2]
LISTS = [[2, 3], [0.9, 0.999], [0.5], [-0.1, 0.9], [1.2, 50], [0.5, 1.2], [0.9, 1.0], [1e-6, 50], [0.1, 0.2, 0.3]]
OFFERED = [entry for entry in catalog.entries("optimizer").values() if entry.is_offered]


def refused_by_torch(entry: catalog.Entry, options: dict[str, Any]) -> bool:
    module, _, name = entry.source.partition(":")
    weights = torch.nn.Parameter(torch.ones(3, 3))
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        made = getattr(importlib.import_module(module), name)([weights], lr=0.01, **given)
        for _ in range(2):
            weights.grad = torch.ones(3, 3)
            made.step()
    except (IndexError, RuntimeError, TypeError, ValueError):
        return True
    return False


@pytest.mark.parametrize("entry", OFFERED, ids=lambda entry: entry.name)
def test_what_torch_refuses_is_refused_at_submission(entry: catalog.Entry) -> None:
    names = [option.name for option in entry.options]
    tried = [{name: value} for name in names for value in [*NUMBERS, *LISTS, True]]
    if {"nesterov", "momentum"} <= set(names):
        pairs = itertools.product((0, 0.9), (0, 0.5))
        tried += [{"nesterov": True, "momentum": momentum, "dampening": damping} for momentum, damping in pairs]
    if {"fused", "foreach"} <= set(names):
        tried.append({"fused": True, "foreach": True})
    seen = 0
    for options in tried:
        try:
            catalog.check("optimizer", entry.name, options)
        except InvalidInput:
            continue
        refused = bool(list(optimizer_errors("optimizer", entry.name, options)))
        assert refused or not refused_by_torch(entry, options), options
        seen += refused
    assert seen


def test_what_torch_takes_is_taken() -> None:
    for name, options in (
        ("Adam", {"betas": [0.8, 0.99], "eps": 0, "weight_decay": 0.1}),
        ("SGD", {"momentum": 0.9, "nesterov": True}),
        ("Rprop", {"etas": [0.4, 1.3], "step_sizes": [1e-5, 10]}),
        ("Adadelta", {"rho": 1}),
        ("Adafactor", {"eps": [None, 0.001], "d": 1, "beta2_decay": 0}),
    ):
        entry = catalog.find("optimizer", name)
        assert not list(optimizer_errors("optimizer", name, options)), name
        assert not refused_by_torch(entry, options), name


def test_both_optimizers_of_a_config_are_looked_at() -> None:
    hyper = HyperParameters(
        loss="ArcFaceLoss",
        optimizer="SGD",
        optimizer_options={"nesterov": True},
        loss_optimizer="Adam",
        loss_optimizer_options={"betas": [2, 3]},
    )
    with pytest.raises(InvalidInput) as caught:
        check_config(
            TrainingConfig(
                model=ModelConfig(name="all-minilm-l6-v2"), data=DataConfig(train_data="pairs"), hyper_parameters=hyper
            )
        )
    assert {one.path for one in caught.value.errors} == {
        "$.config.hyper_parameters.optimizer_options.nesterov",
        "$.config.hyper_parameters.loss_optimizer_options.betas",
    }
