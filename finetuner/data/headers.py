"""The first row of a CSV file, where it is a header."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from finetuner.data.cells import COLUMN_NAMES, arranged, make_data
from finetuner.errors import InvalidData


@attrs.frozen(kw_only=True)
class Header:
    """What the names of columns say."""

    order: list[int] | None
    """The places of the columns in the order of the data set; None: as they stand."""
    is_labelled: bool
    """Whether they are a text and its label."""
    has_scores: bool
    """Whether the third of them is a number."""


def read_header(row: Sequence[str], *, is_labeled: bool, line: int, path: Path | None) -> Header | None:
    """Read a first row; None where it is data.

    Args:
        row: Its cells.
        is_labeled: Whether the caller said that two columns are a text and its label.
        line: Where it stands.
        path: Of the file.

    Raises:
        InvalidData: Its columns make no data set.
    """
    names = [cell.strip().lower() for cell in row]
    known = [name for name in names if name in COLUMN_NAMES]
    if len(known) < len(names):
        if make_data(known):
            unknown = ", ".join(repr(cell.strip()) for cell, name in zip(row, names, strict=True) if name not in known)
            raise InvalidData(
                f"it reads like a header ({', '.join(map(repr, known))}) with columns that are not known: {unknown}. "
                "Leave those out; or, where it is data, put a header before it",
                path=path,
                line=line,
            )
        return None
    try:
        order = arranged(names)
    except InvalidData as error:
        raise InvalidData(f"a header, and {error}", path=path, line=line) from error
    has_label = any(name in {"label", "class"} for name in names)
    if is_labeled and len(names) == 2 and not has_label:
        order = None
    return Header(
        order=order if order != sorted(order or ()) else None,
        is_labelled=is_labeled or (has_label and len(names) > 1),
        has_scores=len(names) == 3 and "score" in names,
    )
