"""Schedulers by name: how the learning rate changes while a run trains."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from transformers import get_scheduler

from finetuner.api import catalog
from finetuner.errors import InvalidInput

_FOLLOWS_LOSS: Final = {"greedy", "reduce_lr_on_plateau"}
_OWN: Final = {"num_warmup_steps", "warmup_ratio", "scheduler_step"}
"""Options that are not the library function's, or not under that name."""


class Schedule:
    """A scheduler that is asked after each step, and moves when it is due.

    Args:
        inner: The library's.
        every: Steps between two of its moves.
        loss: Gives the newest loss; None where the scheduler does not follow it.
    """

    def __init__(self, inner: Any, every: int, loss: Callable[[], float] | None = None) -> None:
        self._inner = inner
        self._every = every
        self._loss = loss
        self._steps = 0
        self._seen: list[float] = []

    def step(self) -> None:
        """Count a step of training; move with the last of each interval, told the mean loss of it."""
        self._steps += 1
        if self._loss is not None:
            self._seen.append(self._loss())
        if self._steps % self._every:
            return
        if self._loss is None:
            self._inner.step()
        else:
            self._inner.step(statistics.fmean(self._seen))
            self._seen.clear()

    def get_last_lr(self) -> list[float]:
        """Give the learning rate of each group."""
        return [float(group["lr"]) for group in self._inner.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Give what a resumed training needs."""
        return {"inner": self._inner.state_dict(), "steps": self._steps, "seen": list(self._seen)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._inner.load_state_dict(state_dict["inner"])
        self._steps, self._seen = state_dict["steps"], list(state_dict["seen"])


def make_schedule(
    optimizer: torch.optim.Optimizer,
    name: str | None,
    options: Mapping[str, Any],
    *,
    steps: int,
    epochs: int,
    loss: Callable[[], float],
) -> Schedule:
    """Make a scheduler of transformers by name; without one the learning rate stays.

    Args:
        optimizer: Whose learning rate it moves.
        name: As transformers has it.
        options: Its options; `num_warmup_steps`, `warmup_ratio` and `scheduler_step` besides.
        steps: Steps of the whole training.
        epochs: Epochs of the whole training.
        loss: Gives the loss of the newest step.

    Raises:
        InvalidInput: The name or an option is unknown, or a value is refused.
    """
    name = name or "constant"
    entry = catalog.check("scheduler", name, options)
    known = {**entry.defaults(), **options}
    is_by_epoch = known["scheduler_step"] == "epoch"
    moves = epochs if is_by_epoch else steps
    given = {key: value for key, value in known.items() if key not in _OWN and (key in options or value is not None)}
    try:
        inner = get_scheduler(name, optimizer, _warmup(known, moves), moves, scheduler_specific_kwargs=given or None)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"the scheduler {name!r} refuses its options {dict(options)}: {error}") from error
    every = max(1, math.ceil(steps / epochs)) if is_by_epoch else 1
    return Schedule(inner, every, loss if name in _FOLLOWS_LOSS else None)


def _warmup(options: Mapping[str, Any], moves: int) -> int:
    ratio = options.get("warmup_ratio")
    return int(options.get("num_warmup_steps") or 0) if ratio is None else math.ceil(ratio * moves)
