"""The validation loss: what the loss is, at each epoch's end, on data that is never trained on."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import numpy as np
import torch
from datasets import Dataset

from finetuner.api.callbacks import VAL_LOSS
from finetuner.counts import held_out
from finetuner.data import DataSet
from finetuner.job.worker.hooks import Hook, Training


def hold_out(data: DataSet, share: float, seed: int) -> tuple[DataSet, DataSet]:
    """Give the rows to train on, and those held out; the same data, share and seed give the same rows.

    Args:
        data: The training data.
        share: Of its rows to hold out, above 0 and below 1; at least one row is, and one is not.
        seed: Decides which.

    Raises:
        InvalidInput: There is one row alone.
    """
    held = held_out(len(data.rows), share, seed)
    kept = tuple(row for index, row in enumerate(data.rows) if index not in held)
    out = tuple(row for index, row in enumerate(data.rows) if index in held)
    return attrs.evolve(data, rows=kept), attrs.evolve(data, rows=out)


class Validator(Hook):
    """Records `val_loss` at the end of each epoch, and leaves training as it would be without it.

    Args:
        loss_of: Gives the loss of some rows as the weights are now.
        dataset: The columns that the loss takes.
        batches: Positions of the rows that come together, the same ones each epoch.
        seed: Of what a loss or miner draws.
    """

    def __init__(
        self, loss_of: Callable[[list[Any]], float], dataset: Dataset, batches: list[list[int]], seed: int
    ) -> None:
        self._loss_of = loss_of
        self._dataset = dataset
        self._batches = batches
        self._seed = seed

    def on_epoch_end(self, training: Training) -> None:
        """Go through the validation data: the mean over its rows counts."""
        with _own_randomness(self._seed):
            losses = [self._loss_of([self._dataset[row] for row in batch]) for batch in self._batches]
        sizes = [len(batch) for batch in self._batches]
        value = sum(loss * size for loss, size in zip(losses, sizes, strict=True)) / sum(sizes)
        training.record({VAL_LOSS: value})
        training.log(f"epoch {training.epoch:g}/{training.epochs}: {VAL_LOSS} {value:.4f}")


@contextlib.contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Let what is drawn inside come from this seed, and what is drawn later be as if nothing had been."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - libraries draw from the global one
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002


def shuffled_batches(count: int, size: int, seed: int) -> list[list[int]]:
    """Give the positions of so many rows in batches, shuffled once: neighbours of a file are often alike."""
    order = list(range(count))
    random.Random(seed).shuffle(order)  # noqa: S311 - reproducible, not secret
    return [order[start : start + size] for start in range(0, count, size)]
