"""Which examples stand in a batch together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler


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
        whole, rest = divmod(self._size, int(self.batch_size))
        return whole if self.drop_last or not rest else whole + 1
