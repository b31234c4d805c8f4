"""What of a data set is trained on: which rows are held out, which can be paired. Counted alike before and in a run."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence

from finetuner.api.catalog import PAIR_LOSS, RANKING_LOSS, find
from finetuner.api.words import count
from finetuner.errors import InvalidInput


def held_out(rows: int, share: float, seed: int) -> set[int]:
    """Give the positions of the rows to hold out; the same rows, share and seed give the same ones.

    Args:
        rows: How many there are.
        share: Of them to hold out, above 0 and below 1; at least one row is, and one is not.
        seed: Decides which.

    Raises:
        InvalidInput: There is one row alone.
    """
    if rows < 2:
        raise InvalidInput("val_split holds rows out of the training data, and there is one row alone")
    size = min(max(round(share * rows), 1), rows - 1)
    return set(random.Random(seed).sample(range(rows), size))  # noqa: S311 - reproducible, not secret


def pairs_by_label(loss: str) -> bool:
    """Whether a loss gets labelled texts in pairs, each with another text of its label."""
    return loss in {RANKING_LOSS, PAIR_LOSS}


def draws_by_class(sampler: str, kind: str, loss: str) -> bool:
    """Whether batches are made by class.

    Args:
        sampler: `class`, `random`, or `auto`: by class where a loss compares the texts of a batch with each other, and
            the data has labels.
        kind: Of the data.
        loss: Name of the loss.
    """
    compares = not pairs_by_label(loss) and not find("loss", loss).given
    return sampler == "class" or (sampler == "auto" and kind == "labelled" and compares)


def largest_class(classes: Iterable[Hashable]) -> int:
    """Give how many texts the largest class has, by the class of each text."""
    return max(Counter(classes).values(), default=0)


def too_small(largest: int, items_per_class: int) -> str | None:
    """Say that no class has as many texts as are to come together; None where one has.

    Args:
        largest: Texts of the largest class.
        items_per_class: Of them in a batch.
    """
    if largest >= items_per_class:
        return None
    return (
        f"num_items_per_class is {items_per_class}, and the largest class has {count(largest, 'text')}: no batch gets "
        "more of one"
    )


def groups(labels: Sequence[str]) -> dict[str, list[int]]:
    """Give the positions of the texts that can be paired, by their labels: a label of one text has no pair.

    Raises:
        InvalidInput: Fewer than two labels have two texts.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        members[label].append(index)
    found = {label: indices for label, indices in members.items() if len(indices) > 1}
    if len(found) < 2:
        raise InvalidInput("labelled data needs two labels with two texts each at least")
    return found


def check_labels(labels: Sequence[str]) -> None:
    """Refuse labels that tell a loss nothing.

    Raises:
        InvalidInput: They are all alike, or no two are.
    """
    found = len(set(labels))
    if found < 2 or found == len(labels):
        raise InvalidInput(
            f"labelled data needs two labels and two texts of the same label at least; this has {len(labels)} texts "
            f"with {found} labels"
        )


def examples(rows: int, labels: Sequence[str] | None, loss: str, val_split: float, seed: int) -> int:
    """Give how many examples an epoch has.

    Args:
        rows: Of the training data.
        labels: The label of each, where they have one.
        loss: What is minimized.
        val_split: Share of the rows held out; 0 where there is other validation data.
        seed: Decides which.

    Raises:
        InvalidInput: Nothing could be trained on them.
    """
    held = held_out(rows, val_split, seed) if val_split else set()
    if labels is None:
        return rows - len(held)
    kept = [label for index, label in enumerate(labels) if index not in held]
    if pairs_by_label(loss):
        return sum(map(len, groups(kept).values()))
    check_labels(kept)
    return len(kept)
