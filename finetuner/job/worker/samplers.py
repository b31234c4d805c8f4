"""Which examples stand in a batch together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from finetuner.api.plan import steps_per_epoch
from finetuner.counts import draws_by_class
from finetuner.errors import InvalidInput
from finetuner.job.worker.examples import Examples


def classes_to_draw(sampler: str, examples: Examples, kind: str, loss: str) -> list[int] | None:
    """Say by which classes batches are drawn: one class a row, or None where rows are drawn at random.

    Args:
        sampler: `class`, `random`, or `auto`: by class where a loss compares the texts of a batch with each other, and
            the data has labels.
        examples: What is trained on.
        kind: Of the data.
        loss: Name of the loss.

    Raises:
        InvalidInput: The data has no classes.
    """
    if sampler == "class" and not examples.ids:
        raise InvalidInput(f"sampler='class' needs data with classes, and {kind} have none; leave the sampler out")
    if draws_by_class(sampler, kind, loss):
        return [row[:2][-1] for row in examples.ids]
    return None


class ClassBatchSampler(DefaultBatchSampler):
    """Draw a few items of each of many classes into every batch; each item once an epoch.

    The groups of a class are spread evenly over the epoch, so that a batch holds as many classes as it can.

    Args:
        dataset: What the trainer samples from; only its length is used.
        classes: The class of each item.
        items_per_class: Items of a class that come together.
        options: As the trainer gives them: `batch_size`, `drop_last`, `generator`, `seed`.
    """

    def __init__(self, dataset: Any, *, classes: list[int], items_per_class: int, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._items_per_class = items_per_class
        self._members: dict[int, list[int]] = defaultdict(list)
        for index, name in enumerate(classes):
            self._members[name].append(index)
        self._size = len(classes)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        placed: list[tuple[float, list[int]]] = []
        for members in self._members.values():
            order = [members[i] for i in torch.randperm(len(members), generator=generator).tolist()]
            groups = [order[i : i + self._items_per_class] for i in range(0, len(order), self._items_per_class)]
            shifts = torch.rand(len(groups), generator=generator).tolist()
            placed += [
                ((i + shift) / len(groups), group) for i, (shift, group) in enumerate(zip(shifts, groups, strict=True))
            ]
        stream = [item for _, group in sorted(placed) for item in group]
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield stream[start : start + self.batch_size]

    def __len__(self) -> int:
        size = int(self.batch_size)
        return self._size // size if self.drop_last else steps_per_epoch(self._size, size)
