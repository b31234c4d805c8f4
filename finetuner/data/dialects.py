"""How a CSV file is written: its delimiter, quotes and escapes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import attrs

from finetuner.api.names import near_hint
from finetuner.errors import InvalidInput

GivenDialect: TypeAlias = str | Mapping[str, Any] | csv.Dialect | type[csv.Dialect]
"""`auto`; a name or a class of Python's `csv`, or an object of one; or its parameters, such as `{"delimiter": ";"}`."""
AUTO: Final = "auto"
_MADE_BY_CSV: Final = type(csv.get_dialect("excel"))
"""What `csv.get_dialect` gives is of no class that the module names."""


@attrs.frozen(kw_only=True)
class Dialect:
    """What reading a file needs to know; the parameters of Python's `csv`, by the same names."""

    delimiter: str = ","
    quotechar: str | None = '"'
    """None: there are no quotes, and a quote is a text like others."""
    doublequote: bool = True
    """Whether a quote in a quoted cell stands twice."""
    escapechar: str | None = None
    skipinitialspace: bool = False
    """Whether blanks after a delimiter belong to nothing."""
    strict: bool = True
    """Whether text after a closing quote is refused."""

    def reader(self, lines: Iterable[str]) -> Any:
        """Give Python's reader; it never makes numbers of cells, whatever quotes stand for."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quotechar,
            doublequote=self.doublequote,
            escapechar=self.escapechar,
            skipinitialspace=self.skipinitialspace,
            strict=self.strict,
            quoting=csv.QUOTE_NONE if self.quotechar is None else csv.QUOTE_MINIMAL,
        )


def check_dialect(given: object) -> None:
    """Refuse what names no dialect, or one that nothing can be read by.

    Raises:
        InvalidInput: Such a thing was given; near names are.
    """
    if given != AUTO:
        named_dialect(given)


def named_dialect(given: object) -> Dialect:
    """Give the dialect that a caller names.

    Raises:
        InvalidInput: There is none of that name, or its parameters cannot go together.
    """
    if isinstance(given, str):
        known = csv.list_dialects()
        if given not in known:
            raise _refused(
                f"there is no dialect {given!r}.{near_hint(given, [AUTO, *known])} There are {AUTO!r}, "
                f"{', '.join(map(repr, known))}; or give its parameters, such as {{'delimiter': ';'}}"
            )
        return _of_object(csv.get_dialect(given), repr(given))
    if isinstance(given, Mapping):
        return _of_parameters(given)
    is_class = isinstance(given, type) and issubclass(given, csv.Dialect)
    if is_class or isinstance(given, csv.Dialect | _MADE_BY_CSV):
        return _of_object(given, getattr(given, "__name__", type(given).__name__))
    raise _refused(
        f"dialect must be 'auto', a name, parameters such as {{'delimiter': ';'}}, or a csv.Dialect, not {given!r} "
        f"({type(given).__name__})"
    )


def _of_parameters(given: Mapping[str, Any]) -> Dialect:
    known = [*attrs.fields_dict(Dialect), "quoting", "lineterminator"]
    for key in given:
        if key not in known:
            raise _refused(f"a dialect has no {key!r}.{near_hint(str(key), known)} It has {', '.join(known)}")
    return _checked({"lineterminator": "\r\n", **attrs.asdict(Dialect()), **given}, repr(dict(given)))


def _of_object(given: Any, shown: str) -> Dialect:
    names = [*attrs.fields_dict(Dialect), "quoting", "lineterminator"]
    return _checked({name: getattr(given, name) for name in names if hasattr(given, name)}, shown)


def _checked(parameters: dict[str, Any], shown: str) -> Dialect:
    if parameters.get("quotechar", "") is None:
        parameters.setdefault("quoting", csv.QUOTE_NONE)
    try:
        read: Any = csv.reader((), **parameters).dialect
    except (TypeError, ValueError, csv.Error) as error:
        raise _refused(f"the dialect {shown} cannot be used: {error}") from error
    quotechar = None if read.quoting == csv.QUOTE_NONE else read.quotechar
    marks = {"delimiter": read.delimiter, "quotechar": quotechar, "escapechar": read.escapechar}
    found = {name: mark for name, mark in marks.items() if mark is not None}
    for name, mark in found.items():
        if mark in "\r\n\0":
            raise _refused(f"the dialect {shown} cannot be used: its {name} ends a line, or is a NUL")
        if twin := next((other for other in found if other != name and found[other] == mark), None):
            raise _refused(f"the dialect {shown} cannot be used: its {name} and its {twin} are both {mark!r}")
    return Dialect(
        delimiter=read.delimiter,
        quotechar=quotechar,
        doublequote=bool(read.doublequote),
        escapechar=read.escapechar,
        skipinitialspace=bool(read.skipinitialspace),
        strict=bool(read.strict),
    )


def _refused(message: str) -> InvalidInput:
    return InvalidInput(f"CSVOptions: {message}")
