from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from finetuner.job.worker.samplers import ClassBatchSampler


def _sampler(classes: list[int], *, items: int, batch: int, seed: int = 0) -> ClassBatchSampler:
    return ClassBatchSampler(
        classes, classes=classes, items_per_class=items, batch_size=batch, drop_last=False, seed=seed
    )


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.integers(1, 5), st.integers(1, 20), st.integers(0, 3))
def test_each_item_comes_once_an_epoch(classes: list[int], items: int, batch: int, epoch: int) -> None:
    sampler = _sampler(classes, items=items, batch=batch)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler)
    assert sorted(index for one in batches for index in one) == list(range(len(classes)))
    assert all(len(one) == batch for one in batches[:-1])


def test_a_batch_holds_several_items_of_several_classes() -> None:
    classes = [number % 40 for number in range(400)]
    for batch in list(_sampler(classes, items=5, batch=50)):
        counts = Counter(classes[index] for index in batch)
        assert len(counts) >= 8
        assert min(counts.values()) >= 5


def test_a_class_that_has_most_items_is_in_every_batch() -> None:
    classes = [0] * 300 + [1, 2, 3, 4, 5] * 20
    for batch in _sampler(classes, items=4, batch=40):
        assert len({classes[index] for index in batch}) > 1


def test_epochs_and_seeds_differ_and_repeat() -> None:
    classes = [number % 4 for number in range(40)]
    first, again, other = (_sampler(classes, items=2, batch=8, seed=seed) for seed in (0, 0, 1))
    assert list(first) == list(again)
    assert list(first) != list(other)
    again.set_epoch(1)
    assert list(first) != list(again)
