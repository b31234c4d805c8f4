"""The kinds of data sets: their columns, and what a row of each may hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Final, SupportsFloat, TypeAlias

from finetuner.data.options import CSVOptions
from finetuner.errors import InvalidData

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "pairs": ("anchor", "positive"),
    "triplets": ("anchor", "positive", "negative"),
    "labelled": ("text", "label"),
    "texts": ("text",),
    "scored": ("sentence1", "sentence2", "score"),
    "margins": ("query", "positive", "negative", "margin"),
}
"""The columns of each kind of data set."""
NUMBER_COLUMNS: Final = ("score", "margin")
"""The columns that hold numbers; each is the last of its kind of data set."""

Row: TypeAlias = tuple[int, list[str | float]]
"""Its number, for messages, and its cells; a number only where it was one in a list, or the file says so."""


def bad_row(message: str, number: int, source: Path | None) -> InvalidData:
    """Say what is wrong with a row: with the line of the file, or its place in what was given."""
    if source is None:
        return InvalidData(f"row {number}: {message}", line=number)
    return InvalidData(message, path=source, line=number)


def kind_of(first: Row, options: CSVOptions, source: Path | None) -> str:
    """Tell the kind of a data set by its first row."""
    number, row = first
    if options.is_labeled:
        if len(row) != 2:
            raise bad_row(f"labelled data has two columns, a text and its label; this has {len(row)}", number, source)
        return "labelled"
    kinds = {1: "texts", 2: "pairs", 3: "scored" if isinstance(row[-1], float) else "triplets", 4: "margins"}
    if len(row) not in kinds:
        raise bad_row(
            f"there are {len(row)} columns; one is texts, two are pairs (or a text and its label, with "
            "CSVOptions(is_labeled=True)), three are anchor, positive, negative (or two texts and a score), four are "
            "query, positive, negative and margin",
            number,
            source,
        )
    return kinds[len(row)]


def to_number(cell: str | float, place: int, name: str, number: int, source: Path | None) -> float:
    """Give the number that a cell holds, if it is one that its column can have."""
    value = as_number(cell)
    if value is None:
        raise bad_row(f"column {place}, the {name}, must be a finite number, not {cell!r}", number, source)
    if name == "score" and abs(value) > 1:
        message = f"column {place}, the score, is a cosine, from -1 to 1, not {value:g}; scale the scores"
        raise bad_row(message, number, source)
    return value


def as_number(cell: str | SupportsFloat) -> float | None:
    """Give the finite number that a cell holds; None where it holds none."""
    try:
        value = float(cell)
    except (ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
