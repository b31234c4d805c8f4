"""The arguments of public calls, checked against the types that their signatures say, before anything is done."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import sys
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, TextIO, TypeVar, Union, Unpack, get_args, get_origin

from finetuner.api.sources import Frame
from finetuner.api.types import DatasetInfo
from finetuner.callback import Callback
from finetuner.errors import InvalidInput
from finetuner.model import SynthesisModels

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
_UNCHECKED: Final[list[Callable[..., Any]]] = []
_SHOWN: Final[dict[Any, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    type(None): "None",
    Path: "a path",
    TextIO: "an open file",
    Frame: "a data frame",
}
_SAY_MORE: Final = (Callback, SynthesisModels)
"""What is checked later, with a message that says more."""
_HIDDEN: Final = frozenset({"token", "secrets"})
"""Parameters whose values no message shows."""
_MAX_SHOWN_CHARS: Final = 60
_MAX_NAME_BYTES: Final = 255


def checked(cls: type[T]) -> type[T]:
    """Have each public method of a class, and what makes it, refuse arguments that are not what their types say.

    Those that are `unchecked` take what comes.

    Raises:
        InvalidInput: By each of them, naming the parameter.
    """
    for name, function in vars(cls).copy().items():
        if function in _UNCHECKED:
            continue
        if inspect.isfunction(function) and (name == "__init__" or not name.startswith("_")):
            setattr(cls, name, _checked(function))
    return cls


def unchecked(function: F) -> F:
    """Leave a method out of `checked`: this package alone calls it, and often."""
    _UNCHECKED.append(function)
    return function


@functools.cache  # a method of two names stays one
def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def check(arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        try:
            given = signature.bind(*arguments, **named)
        except TypeError:
            return  # the call itself says what is wrong
        for name, value in given.arguments.items():
            if name == "self":
                continue  # and where there is no more, no annotation is read: the interpreter may be exiting
            kind = _hints(function).get(name, Any)
            if wrong := next(_wrong(value, kind, is_shown=name not in _HIDDEN), None):
                raise InvalidInput(f"{name}{wrong}")
            if name.endswith("_s") and isinstance(value, float) and math.isinf(value):
                never = "; None waits for ever" if type(None) in _kinds(kind) else ""
                raise InvalidInput(f"{name} must be a finite number of seconds, not {value}{never}")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def answer(*arguments: Any, **named: Any) -> Any:
            check(arguments, named)
            return await function(*arguments, **named)

        return answer

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        check(arguments, named)
        return function(*arguments, **named)

    return call


def check_path(name: str, path: str | Path) -> None:
    """Refuse what can be no path.

    Raises:
        InvalidInput: It is empty, too long, or holds what no path has.
    """
    if wrong := next(_wrong_text(str(path), is_path=True), None):
        raise InvalidInput(f"{name}{wrong}")


def checked_items(name: str, items: Iterable[Any], kind: type[T]) -> list[T]:
    """Give the items of an argument as a list: those of an iterator are seen here alone.

    Raises:
        InvalidInput: One of them is of another kind.
    """
    taken = list(items)
    for index, item in enumerate(taken):
        if wrong := next(_wrong(item, kind, is_shown=True), None):
            raise InvalidInput(f"{name}[{index}]{wrong}")
    return taken


@functools.cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    kinds = {}
    for name, annotation in inspect.get_annotations(function).items():
        try:
            kind = eval(annotation, function.__globals__, _named_later())  # noqa: S307 - the source of this package
            # What a dict of keywords may hold is checked by whom they are passed on to.
            kinds[name] = Any if get_origin(kind) is Unpack else kind
        except NameError:  # imported for the type checker alone
            kinds[name] = Any
    return kinds


def _named_later() -> dict[str, Any]:
    """Give the classes that modules below them know for the type checker alone."""
    module = sys.modules.get("finetuner.aio.run")
    return {} if module is None else {"AsyncRun": module.AsyncRun}


def _wrong(value: Any, kind: Any, *, is_shown: bool) -> Iterator[str]:
    """Give what is wrong with a value, as the rest of a sentence that begins with its name."""
    kinds = _kinds(kind)
    if Any in kinds:
        return
    fits = [one for one in kinds if _fits(value, one)]
    if not fits:
        found = _described(value) if is_shown else f"of type {type(value).__name__}"
        is_sync = any(getattr(one, "__name__", "") == f"Async{type(value).__name__}" for one in kinds)
        more = ", which is one of the sync client: ask this client for it" if is_sync else ""
        if isinstance(value, DatasetInfo):
            more = f"; give its name: {value.name!r}"
        yield f" must be {' or '.join(dict.fromkeys(map(_shown, kinds)))}, not {found}{more}"
    elif isinstance(value, str | Path):
        yield from _wrong_text(str(value), is_path=Path in kinds)
    elif hasattr(value, "read") and getattr(value, "closed", False) is True:
        yield " is a file that is closed; open it again"
    elif isinstance(value, Mapping):
        yield from _wrong_items(((f"[{key!r}]", item) for key, item in value.items()), fits[0], 1, is_shown)
        yield from (f"'s names must be texts, not {_described(key)}" for key in value if not isinstance(key, str))
    elif isinstance(value, Sequence):
        yield from _wrong_items(((f"[{index}]", item) for index, item in enumerate(value)), fits[0], 0, is_shown)


def _wrong_items(items: Iterable[tuple[str, Any]], kind: Any, place: int, is_shown: bool) -> Iterator[str]:
    inner = get_args(kind)[place:][:1]
    if inner and inner[0] is not Any:
        yield from (f"{where}{wrong}" for where, item in items for wrong in _wrong(item, inner[0], is_shown=is_shown))


def _wrong_text(text: str, *, is_path: bool) -> Iterator[str]:
    if is_path and not text:
        yield " must not be empty"
    elif is_path and "\0" in text:
        yield " holds a NUL character, which no path or name has"
    elif any("\ud800" <= char <= "\udfff" for char in text):
        yield " holds a lone surrogate, which cannot be sent as UTF-8"
    elif is_path and max(len(part.encode()) for part in text.split("/")) > _MAX_NAME_BYTES:
        yield f" is no path: {text[:40]!r}... is longer than a name of a file can be"


def _kinds(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) in {Union, types.UnionType}:
        return tuple(part for one in get_args(kind) for part in _kinds(one))
    return (type(None),) if kind is None else (kind,)


def _fits(value: Any, kind: Any) -> bool:
    if kind in _SAY_MORE:
        return True
    if kind in {int, float}:
        is_number = isinstance(value, numbers.Integral if kind is int else numbers.Real)
        return is_number and not isinstance(value, bool) and not math.isnan(value)
    if kind is TextIO:
        return hasattr(value, "read")
    origin = get_origin(kind) or kind
    if origin is Literal:
        return value in get_args(kind)
    if origin in {list, Sequence, Iterable}:
        wanted = Iterable if origin is Iterable else Sequence | set | frozenset
        return isinstance(value, wanted) and not isinstance(value, str | bytes | Mapping)
    return isinstance(value, Mapping if origin is dict else origin)


def _shown(kind: Any) -> str:
    origin = get_origin(kind) or kind
    if origin is Literal:
        return " or ".join(map(repr, get_args(kind)))
    if origin in {list, Sequence, Iterable}:
        inner = next(iter(get_args(kind)), Any)
        items = {str: "texts", Any: "rows or texts"}.get(inner) or " or ".join(map(_shown, _kinds(inner)))
        return f"a list of {items}"
    if origin in {dict, Mapping}:
        return "a dict"
    return _SHOWN.get(kind) or str(getattr(kind, "__name__", kind)).removeprefix("Async")


def _described(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= _MAX_SHOWN_CHARS else text[:57] + '...'} ({type(value).__name__})"
