"""The rows of a list, or of another iterable: texts, tuples, or mappings."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from finetuner.data.frames import read_records
from finetuner.data.kinds import Row
from finetuner.errors import InvalidData


def read_items(source: Iterable[Any], *, is_labeled: bool) -> tuple[Iterator[Row], bool]:
    """Give the rows of a list or another iterable, and whether they are texts with their labels.

    Raises:
        InvalidData: An item is no text and no row, by the rows; with its number.
    """
    items = iter(source)
    try:
        first = next(items)
    except StopIteration:
        return iter(()), is_labeled
    items = itertools.chain([first], items)
    if isinstance(first, Mapping):
        return read_records(items, is_labeled=is_labeled)
    has_number_label = isinstance(first, tuple | list) and len(first) == 2 and isinstance(first[1], int)
    return _rows(items), is_labeled or has_number_label


def _rows(items: Iterator[Any]) -> Iterator[Row]:
    for number, item in enumerate(items, start=1):
        if isinstance(item, str):
            yield number, [item]
            continue
        cells = list(item) if isinstance(item, tuple | list) else []
        label = cells[-1] if len(cells) == 2 and isinstance(cells[-1], int) else None
        score = cells[-1] if len(cells) in {3, 4} and _is_number(cells[-1]) else None
        texts = cells if label is None and score is None else cells[:-1]
        if not cells or not all(isinstance(cell, str) for cell in texts):
            raise InvalidData(f"row {number}: {_wrong(item, texts)}", line=number)
        yield number, [*texts, *([] if label is None else [str(label)]), *([] if score is None else [_float(score)])]


def _wrong(item: object, texts: list[Any]) -> str:
    """Say what is wrong with an item, in which column where there are some."""
    place = next((place for place, cell in enumerate(texts, start=1) if not isinstance(cell, str)), None)
    if place is None:
        return f"it must be a text, or a tuple of texts, not {str(item)[:60]!r} ({type(item).__name__})"
    cell = texts[place - 1]
    return f"column {place} must be a text, not {str(cell)[:60]!r} ({type(cell).__name__})"


def _is_number(cell: object) -> bool:
    return isinstance(cell, numbers.Real) and not isinstance(cell, bool)


def _float(cell: numbers.Real) -> float:
    try:
        return float(cell)
    except OverflowError:
        return math.inf
