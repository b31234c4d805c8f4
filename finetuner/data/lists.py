"""The rows of a list."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any

from finetuner.data.kinds import Row
from finetuner.errors import InvalidData


def read_list(source: Sequence[Any]) -> Iterator[Row]:
    """Give the rows of a list of texts or of rows."""
    for number, item in enumerate(source, start=1):
        if isinstance(item, str):
            yield number, [item]
            continue
        cells = list(item) if isinstance(item, tuple | list) else []
        label = cells[-1] if len(cells) == 2 and isinstance(cells[-1], int) else None
        score = cells[-1] if len(cells) in {3, 4} and _is_number(cells[-1]) else None
        texts = cells if label is None and score is None else cells[:-1]
        if not cells or not all(isinstance(cell, str) for cell in texts):
            raise InvalidData(
                f"row {number}: it must be a text, or a tuple of texts, not {str(item)[:60]!r} ({type(item).__name__})",
                line=number,
            )
        yield number, [*texts, *([] if label is None else [str(label)]), *([] if score is None else [_float(score)])]


def _is_number(cell: object) -> bool:
    return isinstance(cell, numbers.Real) and not isinstance(cell, bool)


def _float(cell: numbers.Real) -> float:
    try:
        return float(cell)
    except OverflowError:
        return math.inf


def has_number_labels(source: Sequence[Any]) -> bool:
    """Whether its rows are a text and a label, since there is a whole number where a text would stand."""
    first = source[0] if source else None
    return isinstance(first, tuple | list) and len(first) == 2 and isinstance(first[1], int)
