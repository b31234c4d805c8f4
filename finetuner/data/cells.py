"""The cells of rows that have named columns: which column is which, and what may stand in it."""

from __future__ import annotations

import decimal
import itertools
import math
import numbers
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TypeAlias

from finetuner.data.kinds import Row, as_number
from finetuner.errors import InvalidData

Role: TypeAlias = Literal["anchor", "positive", "negative", "text", "label", "score", "margin"]
_NAMES: Final[dict[Role, tuple[str, ...]]] = {
    "anchor": ("anchor", "query", "question", "sentence1", "premise"),
    "positive": ("positive", "document", "passage", "answer", "sentence2", "hypothesis"),
    "negative": ("negative",),
    "text": ("text", "sentence"),
    "label": ("label", "class"),
    "score": ("score",),
    "margin": ("margin",),
}
_ROLE_OF: Final[dict[str, Role]] = {name: role for role, names in _NAMES.items() for name in names}
COLUMN_NAMES: Final = frozenset(_ROLE_OF)
"""What columns may be called."""
_KINDS: Final[tuple[tuple[Role, ...], ...]] = (
    ("anchor", "positive"),
    ("anchor", "positive", "negative"),
    ("anchor", "positive", "score"),
    ("anchor", "positive", "negative", "margin"),
    ("text", "label"),
    ("anchor", "label"),
    ("text",),
    ("anchor",),
    ("positive",),
)
"""The columns that make a data set, in its order."""
_TELLING: Final = frozenset({"text", "label", "anchor", "positive", "negative", "score", "margin"})


def read_named(names: Sequence[str], rows: Iterator[Sequence[Any]], *, is_labeled: bool) -> tuple[Iterator[Row], bool]:
    """Give the rows with their columns in the order of the kind, and whether they are texts with their labels.

    Args:
        names: Of the columns; where none of them says anything, their order tells, as in a list.
        rows: As many values each.
        is_labeled: Whether two columns are a text and its label.

    Raises:
        InvalidData: The columns make no data set, or a value cannot be used; with its row and column.
    """
    first = next(rows, None)
    if first is None:
        return iter(()), is_labeled
    order = arranged(names)
    roles = [_ROLE_OF[_plain(names[place])] for place in order] if order else _told(first, is_labeled=is_labeled)
    if is_labeled and len(names) == 2 and "label" not in roles:
        order, roles = None, ["text", "label"]
    order = order or list(range(len(names)))
    is_labelled = is_labeled or "label" in roles
    chosen = [(place, names[place], role) for place, role in zip(order, roles, strict=True)]

    def read() -> Iterator[Row]:
        for number, row in enumerate(itertools.chain([first], rows), start=1):
            yield number, [_cell(row[place], role, name, number) for place, name, role in chosen]

    return read(), is_labelled


def arranged(names: Sequence[str]) -> list[int] | None:
    """Give the places of the columns in the order of the kind that their names make; None where they say nothing.

    Raises:
        InvalidData: Some of them say what they are, and together they make no data set.
    """
    found = [_ROLE_OF.get(_plain(name)) for name in names]
    for roles in _KINDS:
        if len(found) == len(roles) and set(found) == set(roles):
            return [found.index(role) for role in roles]
    is_telling = len(names) > 1 and any(_plain(name) in _TELLING for name in names)
    if not is_telling:
        return None
    unknown = [name for name, role in zip(names, found, strict=True) if role is None]
    what = f"{', '.join(map(repr, unknown))} {'is' if len(unknown) == 1 else 'are'} not known" if unknown else ""
    raise InvalidData(
        f"its columns ({', '.join(map(repr, names))}) make no data set{': ' if what else ''}{what}. Choose the columns "
        "to train on, such as data[['anchor', 'positive']]; they are called anchor and positive, with negative, score "
        "or negative and margin; or text and label; or text"
    )


def make_data(names: Sequence[str]) -> bool:
    """Whether these columns alone, two or more, make a data set."""
    roles = [_ROLE_OF[name] for name in names]
    return len(roles) > 1 and any(len(roles) == len(kind) and set(roles) == set(kind) for kind in _KINDS)


def _plain(name: str) -> str:
    return name.strip().lower()


def _told(row: Sequence[Any], *, is_labeled: bool) -> list[Role]:
    """Tell by the first row what the columns are, as in a list."""
    is_number = isinstance(row[-1], numbers.Real | decimal.Decimal) and not isinstance(row[-1], bool)
    if len(row) == 2 and (is_labeled or is_number):
        return ["text", "label"]
    if len(row) == 3 and is_number:
        return ["anchor", "positive", "score"]
    if len(row) == 4:
        return ["anchor", "positive", "negative", "margin"]
    return ["text"] * len(row)


def _cell(value: Any, role: Role, name: str, number: int) -> str | float:
    if _is_missing(value):
        raise _refused(f"it is empty ({value})", name, number)
    if role in {"score", "margin"}:
        found = as_number(value) if isinstance(value, str | numbers.Real | decimal.Decimal) else None
        if found is None or isinstance(value, bool):
            raise _refused(f"the {role} must be a finite number, not {_shown(value)}", name, number)
        return found
    if role == "label" and isinstance(value, numbers.Integral):
        return str(value)
    if role == "label" and isinstance(value, numbers.Real) and float(value).is_integer():
        return str(int(float(value)))  # whole numbers become such ones beside a missing value, and in a Document's tags
    if not isinstance(value, str):
        what = "a label must be a text or a whole number" if role == "label" else "it must be a text"
        raise _refused(f"{what}, not {_shown(value)}", name, number)
    if not value.strip():
        raise _refused(f"it is empty ({value!r})", name, number)
    return str(value)


def _is_missing(value: Any) -> bool:
    is_nan = isinstance(value, numbers.Real) and math.isnan(value)
    return value is None or is_nan or type(value).__name__ in {"NAType", "NaTType"}  # pandas' own, not imported here


def _shown(value: Any) -> str:
    return f"{str(value)[:60]!r} ({type(value).__name__})"


def _refused(message: str, name: str, number: int) -> InvalidData:
    return InvalidData(f"row {number}, column {name!r}: {message}", line=number)
