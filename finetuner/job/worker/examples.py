"""Turn a data set's rows into the columns that the trainer and the losses take."""

from __future__ import annotations

import random
from collections import defaultdict

import attrs

from finetuner.api.catalog import RANKING_LOSS
from finetuner.api.checks import check_training_kind
from finetuner.data import DataSet
from finetuner.errors import InvalidInput


@attrs.frozen(kw_only=True)
class Examples:
    """Training examples: texts by column, and beside each text an id.

    For a ranking loss the ids tell equal texts apart from different ones; for a metric loss they are the classes.
    """

    columns: dict[str, list[str]]
    """`anchor`, `positive`, `negative`, or `text`: one text a row."""
    ids: list[list[int]]
    """One list a row, with one id a column."""

    def __len__(self) -> int:
        return len(self.ids)


def make_examples(data: DataSet, loss: str, seed: int, ids: dict[str, int] | None = None) -> Examples:
    """Give the examples that a loss trains on.

    Args:
        data: The training data.
        loss: Name of the loss.
        seed: Decides which items of a class are paired, where a ranking loss gets labelled items.
        ids: The ids of texts and labels that are known, to which new ones are added: training and validation data of
            one run share them.

    Raises:
        InvalidInput: The loss cannot be trained on such data.
    """
    check_training_kind(data.kind)
    known = {} if ids is None else ids
    if loss == RANKING_LOSS:
        return _paired_by_label(data, seed, known) if data.kind == "labelled" else _with_text_ids(data, known)
    return _labelled(data, known) if data.kind == "labelled" else _with_classes(data, known)


def _with_text_ids(data: DataSet, ids: dict[str, int]) -> Examples:
    return Examples(
        columns={name: data.column(index) for index, name in enumerate(data.columns)},
        ids=[[ids.setdefault(text, len(ids)) for text in row] for row in data.rows],
    )


def _with_classes(data: DataSet, ids: dict[str, int]) -> Examples:
    """Give both texts of a pair the class of the second; a negative has the class of its own text."""
    rows = [[ids.setdefault(text, len(ids)) for text in row[1:]] for row in data.rows]
    return Examples(
        columns={name: data.column(index) for index, name in enumerate(data.columns)},
        ids=[[row[0], *row] for row in rows],
    )


def _labelled(data: DataSet, ids: dict[str, int]) -> Examples:
    examples = Examples(
        columns={"text": data.column(0)}, ids=[[ids.setdefault(label, len(ids))] for label in data.column(1)]
    )
    labels = len(set(data.column(1)))
    if labels < 2 or labels == len(examples):
        raise InvalidInput(
            f"labelled data needs two labels and two texts of the same label at least; this has {len(examples)} texts "
            f"with {labels} labels"
        )
    return examples


def _paired_by_label(data: DataSet, seed: int, known: dict[str, int]) -> Examples:
    """Pair each text with another one of its label; the label's id keeps others of it from being negatives."""
    texts = data.column(0)
    members: dict[str, list[int]] = defaultdict(list)
    for index, label in enumerate(data.column(1)):
        members[label].append(index)
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    anchors, positives, ids = [], [], []
    for label, indices in members.items():
        number = known.setdefault(label, len(known))
        draw.shuffle(indices)
        for position, index in enumerate(indices if len(indices) > 1 else []):
            anchors.append(texts[index])
            positives.append(texts[indices[position - 1]])
            ids.append([number, number])
    if len({row[0] for row in ids}) < 2:
        raise InvalidInput("labelled data needs two labels with two texts each at least")
    return Examples(columns={"anchor": anchors, "positive": positives}, ids=ids)
