"""Turn a data set's rows into the columns that the trainer and the losses take."""

from __future__ import annotations

import random
from collections.abc import Mapping

import attrs

from finetuner.api.catalog import RANKING_LOSS
from finetuner.api.checks import check_training_kind
from finetuner.counts import check_labels, groups, pairs_by_label
from finetuner.data import NUMBER_COLUMNS, DataSet
from finetuner.errors import InvalidInput


@attrs.frozen(kw_only=True)
class Examples:
    """Training examples: texts by column, and beside each text an id, or a number for the whole row.

    For a ranking loss the ids tell equal texts apart from different ones; for a metric loss they are the classes.
    """

    columns: dict[str, list[str]]
    """`anchor`, `positive`, `negative`, or `text`, and so on: one text a row."""
    ids: list[list[int]] = attrs.field(factory=list)
    """One list a row, with one id a column; none where the data has numbers."""
    numbers: list[float] | None = None
    """The score or the margin of each row."""
    classes: Mapping[str, int] = attrs.field(factory=dict)
    """The number of each class, where a loss has classes."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def targets(self) -> list[list[int]] | list[float]:
        """What a loss is given beside the texts: one thing a row."""
        return self.ids if self.numbers is None else self.numbers

    def within(self, classes: int) -> Examples:
        """Give the rows whose classes all have a number below that.

        Raises:
            InvalidInput: There are none.
        """
        kept = [index for index, row in enumerate(self.ids) if max(row) < classes]
        if not kept:
            raise InvalidInput("it has none of the classes of the training data, which the loss tells apart")
        columns = {name: [texts[index] for index in kept] for name, texts in self.columns.items()}
        return attrs.evolve(self, columns=columns, ids=[self.ids[index] for index in kept])


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
    check_training_kind(data.kind, loss)
    if data.columns[-1] in NUMBER_COLUMNS:
        return _with_numbers(data)
    known = {} if ids is None else ids
    if data.kind == "labelled" and pairs_by_label(loss):
        return _paired_by_label(data, seed, known)
    if loss == RANKING_LOSS:
        return _with_text_ids(data, known)
    return _labelled(data, known) if data.kind == "labelled" else _with_classes(data, known)


def _with_numbers(data: DataSet) -> Examples:
    texts = {name: data.column(index) for index, name in enumerate(data.columns[:-1])}
    return Examples(columns=texts, numbers=[float(number) for number in data.column(len(texts))])


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
        classes=ids,
    )


def _labelled(data: DataSet, ids: dict[str, int]) -> Examples:
    labels = data.column(1)
    check_labels(labels)
    rows = [[ids.setdefault(label, len(ids))] for label in labels]
    return Examples(columns={"text": data.column(0)}, ids=rows, classes=ids)


def _paired_by_label(data: DataSet, seed: int, known: dict[str, int]) -> Examples:
    """Pair each text with another one of its label; the label's id keeps others of it from being negatives."""
    texts = data.column(0)
    draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
    anchors, positives, ids = [], [], []
    for label, indices in groups(data.column(1)).items():
        number = known.setdefault(label, len(known))
        draw.shuffle(indices)
        for position, index in enumerate(indices):
            anchors.append(texts[index])
            positives.append(texts[indices[position - 1]])
            ids.append([number, number])
    return Examples(columns={"anchor": anchors, "positive": positives}, ids=ids)
