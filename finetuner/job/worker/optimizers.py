"""Optimizers by name."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from finetuner.api import catalog
from finetuner.errors import InvalidInput


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], name: str, options: Mapping[str, Any], learning_rate: float
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
