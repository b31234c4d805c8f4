"""What can be encoded: the texts of a list, a column, an array or a DocumentArray, whatever package it is of."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from finetuner.api.sources import is_a
from finetuner.errors import InvalidInput

_COLUMNS: Final = (
    ("pandas", "Series"),
    ("polars", "Series"),
    ("pyarrow", "Array"),
    ("pyarrow", "ChunkedArray"),
    ("numpy", "ndarray"),
    ("datasets", "Column"),
)


def texts_of(data: object) -> list[str]:
    """Give the texts to encode.

    Args:
        data: A list or another iterable of texts; a series or an array of them; a frame of one column; a DocumentArray.

    Raises:
        InvalidInput: It is something else, or one of its items is no text; with the item's number, counted from 0.
    """
    if isinstance(data, str):
        raise InvalidInput("encode takes a list of texts; for one text give ['...']")
    if is_a(data, "docarray", "DocumentArray"):
        documents: Any = data
        return [_document(number, one) for number, one in enumerate(documents)]
    values = _column(data)
    for number, value in enumerate(values):
        if not isinstance(value, str):
            raise _refused(number, value)
    return values


def _column(data: object) -> list[Any]:
    if any(is_a(data, package, name) for package, name in _COLUMNS):
        return _values(data)
    if isinstance(data, Mapping):  # the splits of `datasets` have a shape too
        raise InvalidInput(f"encode takes texts, not a {type(data).__name__}; choose one of its values: data['text']")
    names = _names(data)
    if names is not None:
        if len(names) != 1:
            shown = ", ".join(map(repr, names)) or "none"
            raise InvalidInput(f"encode takes one column of texts, and it has {shown}; choose one: data['text']")
        return _values(data[names[0]])  # type: ignore[index] # each of these frames has columns by their names
    if isinstance(data, set | frozenset):
        raise InvalidInput("encode takes a list of texts: a set has no order, and rows are told by it; sorted(data)")
    if isinstance(data, Path) or hasattr(data, "read"):
        raise InvalidInput("encode takes texts, not a file; give its lines: path.read_text().splitlines()")
    if isinstance(data, bytes | bytearray) or not isinstance(data, Iterable):
        raise InvalidInput(f"encode takes a list of texts, a column of them, or a DocumentArray, not {_kind(data)}")
    return list(data)


def _names(data: Any) -> Sequence[Any] | None:
    """Give the names of a frame's columns; None where it is none."""
    if is_a(data, "pandas", "DataFrame") or is_a(data, "polars", "DataFrame"):
        return list(data.columns)
    if is_a(data, "datasets", "Dataset") or is_a(data, "pyarrow", "Table"):
        return list(data.column_names)
    return None


def _values(column: Any) -> list[Any]:
    if is_a(column, "numpy", "ndarray"):
        if column.ndim == 2 and column.shape[1] == 1:
            column = column[:, 0]
        if column.ndim != 1:
            raise InvalidInput(f"encode takes an array of n texts, not one of the shape {column.shape}")
    for name in ("tolist", "to_list", "to_pylist"):
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)


def _document(number: int, document: Any) -> str:
    text = document.text
    if not isinstance(text, str) or not text:
        raise InvalidInput(f"encode takes texts; document {number} has none: images and meshes are not encoded here")
    return text


def _refused(number: int, value: object) -> InvalidInput:
    is_missing = value is None or (isinstance(value, numbers.Real) and math.isnan(value))
    if is_missing or type(value).__name__ in {"NAType", "NaTType"}:  # pandas' own, not imported here
        return InvalidInput(f"encode takes texts; item {number} is missing ({value}): leave it out, or fill it")
    hint = "; choose its text: (row['text'] for row in data)" if isinstance(value, Mapping) else ""
    return InvalidInput(f"encode takes texts; item {number} is of type {type(value).__name__}{hint}")


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
