"""Optimizers by name: one for all weights, or one for the model's and another for the loss's own."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from finetuner.api import catalog
from finetuner.api.config import HyperParameters
from finetuner.errors import InvalidInput
from finetuner.job.worker.losses import own_parameters


class PairedOptimizer(torch.optim.Optimizer):
    """Two optimizers that step as one. A scheduler sees the groups of both, and moves both learning rates.

    Args:
        model: Of the model's weights.
        loss: Of the loss's own.
    """

    def __init__(self, model: torch.optim.Optimizer, loss: torch.optim.Optimizer) -> None:
        super().__init__([*model.param_groups, *loss.param_groups], {"lr": model.defaults["lr"]})
        self.parts: tuple[torch.optim.Optimizer, torch.optim.Optimizer] = (model, loss)

    def step(self, closure: Any = None) -> None:
        """Let both make their step.

        Raises:
            ValueError: A closure was given: the loss is computed once a step.
        """
        if closure is not None:
            raise ValueError("two optimizers share one loss: a closure cannot be called for each")
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Give the state of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state of both."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups: list[dict[str, Any]] = [group for part in self.parts for group in part.param_groups]


def make_optimizers(loss: nn.Module, config: HyperParameters) -> torch.optim.Optimizer:
    """Make what moves a loss's model, and the loss's own weights with it.

    Raises:
        InvalidInput: A name or an option is unknown, a value is refused, or there is nothing to train.
    """
    own = [weights for weights in own_parameters(loss) if weights.requires_grad]
    known = {id(weights) for weights in own}
    of_model = [weights for weights in loss.parameters() if weights.requires_grad and id(weights) not in known]
    if config.loss_optimizer is None:
        return make_optimizer([*of_model, *own], config.optimizer, config.optimizer_options, config.learning_rate)
    if not own:
        raise InvalidInput(f"{config.loss} has no weights of its own; leave the loss_optimizer out")
    options = dict(config.loss_optimizer_options)
    rate = float(options.pop("lr", config.learning_rate))
    return PairedOptimizer(
        make_optimizer(of_model, config.optimizer, config.optimizer_options, config.learning_rate),
        make_optimizer(own, config.loss_optimizer, options, rate),
    )


def make_optimizer(
    parameters: Iterable[nn.Parameter], name: str, options: Mapping[str, Any], learning_rate: float
) -> torch.optim.Optimizer:
    """Make an optimizer of torch by name.

    Raises:
        InvalidInput: The name or an option is unknown, or a value is refused.
    """
    entry = catalog.check("optimizer", name, options)
    module, _, kind = entry.source.partition(":")
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    try:
        made: torch.optim.Optimizer = getattr(importlib.import_module(module), kind)(
            list(parameters), lr=learning_rate, **given
        )
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the optimizer {name!r} refuses its options {dict(options)}: {error}") from error
    return made
