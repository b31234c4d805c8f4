"""Values as a command line writes them: `margin=0.3`, a JSON object, `EvaluationCallback(query_data=q.csv)`.

Nothing is evaluated. A value is JSON where it reads as JSON, one of Python's True, False and None, and else a text;
quotes make it a text whatever it reads as.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

import attrs
import click

_WORDS: Final = {"True": True, "False": False, "None": None}
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CALL: Final = re.compile(r"\s*(?P<name>[A-Za-z_][\w.:]*)\s*(?:\((?P<inside>.*)\)\s*)?", re.DOTALL)
_CLOSING: Final = {"[": "]", "{": "}", "(": ")"}


@attrs.frozen
class Call:
    """A name with options, as `Name(key=value, key=value)` says it."""

    name: str
    options: dict[str, Any]


def read_value(text: str) -> Any:
    """Give what one value means; a text that is not JSON is itself.

    Raises:
        ValueError: A quote is not closed.
    """
    text = text.strip()
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        if text[:1] in {'"', "'"}:
            raise ValueError(f"the quote in {text!r} is not closed") from error
        return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def read_options(text: str) -> dict[str, Any]:
    """Give the options that a JSON object, or one `key=value`, says.

    Raises:
        ValueError: It is neither; the message says what to write.
    """
    if text.lstrip().startswith("{"):
        try:
            value: dict[str, Any] = json.loads(text, parse_constant=_refuse_constant)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a JSON object: {error}") from error
        return value
    return _pair(text)


def _pair(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not _KEY.fullmatch(key):
        raise ValueError(f"{text.strip()!r} is not key=value")
    return {key: read_value(value)}


def read_call(text: str) -> Call:
    """Give the name and the options of `Name` or `Name(key=value, ...)`.

    Raises:
        ValueError: It is neither; the message says which part is wrong.
    """
    found = _CALL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not Name(key=value, ...)")
    return Call(found["name"], merged(map(_pair, _parts(found["inside"] or ""))))


def _parts(text: str) -> Iterator[str]:
    """Cut at the commas that stand in no quotes and no brackets; an empty last part is none.

    Raises:
        ValueError: A quote or a bracket is not closed.
    """
    open_brackets: list[str] = []
    quote = ""
    begun = index = 0
    while index < len(text):
        character = text[index]
        if quote:
            index += character == "\\" and quote == '"'
            quote = "" if character == quote else quote
        elif character in "\"'" and text[begun:index].rstrip().endswith(("=", "[", "{", ",", ":", "(")):
            quote = character  # elsewhere it is part of a text, such as don't.csv
        elif character in _CLOSING:
            open_brackets.append(_CLOSING[character])
        elif open_brackets and character == open_brackets[-1]:
            open_brackets.pop()
        elif character == "," and not open_brackets:
            yield text[begun:index]
            begun = index + 1
        index += 1
    if quote or open_brackets:
        raise ValueError(f"{(quote or open_brackets[-1])!r} is missing at the end of {text!r}")
    if text[begun:].strip():
        yield text[begun:]


def merged(given: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Give all options as one.

    Raises:
        ValueError: One is given twice.
    """
    found: dict[str, Any] = {}
    for one in given:
        twice = found.keys() & one.keys()
        if twice:
            raise ValueError(f"{min(twice)!r} is given twice")
        found |= one
    return found


def options_callback(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> dict[str, Any] | None:
    """Give what a flag that takes options says, however often it was given; None where it was not."""
    try:
        return merged(read_options(text) for text in given) or None
    except ValueError as error:
        raise click.BadParameter(f"{error}; give key=value, or a JSON object", context, parameter) from error


def calls_callback(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> list[Call]:
    """Give what a flag that takes `Name(key=value, ...)` says, however often it was given."""
    try:
        return [read_call(text) for text in given]
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from error
