"""The converters between values and JSON, made in this one place.

`read` is strict, for requests: no coercion (2.7 is no int, "false" no bool), no unknown field, and every refusal
names its `$.path`. `lenient` is for responses: fields a newer server added are ignored.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_unstructure_fn
from cattrs.preconf.orjson import make_converter

from finetuner.api.config import RefusedValueError
from finetuner.api.types import RunStatus, Task
from finetuner.errors import FieldError, InvalidInput

T = TypeVar("T")
NO_SUCH_FIELD: Final = "there is no such field"
"""What is said of a field that a request has, and should not: by a server older than its client, for one."""


def _exact(kind: type, shown: str) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"must be {shown}, not {_described(value)}")
        return value

    return structure


def _number(value: Any, _: Any) -> float:
    if type(value) not in {int, float} or not math.isfinite(value):
        raise TypeError(f"must be a finite number, not {_described(value)}")
    return float(value)


def _described(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _time(value: Any, _: Any) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value
    if not isinstance(value, str):
        raise TypeError(f"must be a time such as 2026-01-31T12:00:00Z, not {_described(value)}")
    parsed = dt.datetime.fromisoformat(value)
    if parsed.tzinfo is None:
        raise ValueError("must have a time zone")
    return parsed.astimezone(dt.UTC)


def _object(value: Any, kind: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"must be an object, not {_described(value)}")
    item_type = (get_args(kind) or (str, Any))[1]
    if item_type is Any:
        return dict(value)
    return dict(_items(((f".{key}", key, item) for key, item in value.items()), item_type))


def _array(value: Any, kind: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"must be a list, not {_described(value)}")
    (item_type,) = get_args(kind)
    return [item for _, item in _items(((f"[{index}]", index, item) for index, item in enumerate(value)), item_type)]


def _items(items: Iterable[tuple[str, Any, Any]], item_type: Any) -> Iterator[tuple[Any, Any]]:
    errors = []
    for path, key, item in items:
        try:
            yield key, STRICT.structure(item, item_type)
        except Exception as error:  # noqa: BLE001 - collected, so that every bad item is named at once
            errors.append((path, error))
    if errors:
        raise _BadItemsError(errors)


class _BadItemsError(Exception):
    """What was wrong with the items of a list or an object, each with its place."""

    def __init__(self, errors: list[tuple[str, Exception]]) -> None:
        super().__init__("bad items")
        self.errors = errors


def _origin(kind: Any) -> object:
    return get_origin(kind)


def _choice(value: Any, kind: Any) -> Any:
    is_enum = isinstance(kind, type) and issubclass(kind, Enum)
    allowed = [member.value for member in kind] if is_enum else list(get_args(kind))
    if type(value) is not str or value not in allowed:
        raise ValueError(f"must be one of {', '.join(map(repr, allowed))}, not {_described(value)}")
    return kind(value) if is_enum else value


def _shared(converter: cattrs.Converter) -> None:
    converter.register_structure_hook(dt.datetime, _time)
    converter.register_unstructure_hook(dt.datetime, to_iso)
    converter.register_unstructure_hook_factory(
        attrs.has, lambda cls: make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=False)
    )


def _strict() -> cattrs.Converter:
    converter = make_converter(forbid_extra_keys=True, detailed_validation=True)
    _shared(converter)
    converter.register_structure_hook(int, _exact(int, "a whole number"))
    converter.register_structure_hook(str, _exact(str, "a string"))
    converter.register_structure_hook(bool, _exact(bool, "true or false"))
    converter.register_structure_hook(float, _number)
    converter.register_structure_hook_func(lambda kind: _origin(kind) is dict, _object)
    converter.register_structure_hook_func(lambda kind: _origin(kind) is Literal, _choice)
    for kind in (Task, RunStatus):
        converter.register_structure_hook(kind, _choice)
    converter.register_structure_hook_func(lambda kind: _origin(kind) is list, _array)
    return converter


def _lenient() -> cattrs.Converter:
    converter = make_converter(detailed_validation=False)
    _shared(converter)
    return converter


def _sparse() -> cattrs.Converter:
    converter = make_converter()
    _shared(converter)
    converter.register_unstructure_hook_factory(
        attrs.has, lambda cls: make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True)
    )
    return converter


def to_iso(time: dt.datetime) -> str:
    """Give a time as the wire has it: `2026-01-31T12:00:00.000000Z`."""
    return f"{time.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


STRICT = _strict()
LENIENT = _lenient()
SPARSE = _sparse()


def read(value: Any, kind: type[T], root: str = "$") -> T:
    """Structure a request's JSON strictly.

    Args:
        value: The decoded JSON.
        kind: An attrs class.
        root: What the paths in errors start with.

    Raises:
        InvalidInput: `.errors` has every refused field with its path.
    """
    try:
        return STRICT.structure(value, kind)
    except Exception as error:
        fields = tuple(_walk(error, root))
        shown = "; ".join(f"{field.path}: {field.message}" for field in fields[:5])
        raise InvalidInput(shown or str(error), errors=fields) from error


def read_json(body: bytes, kind: type[T]) -> T:
    """Decode and structure a request's body strictly.

    Raises:
        InvalidInput: It is not JSON, or a field was refused.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"the body must be a JSON object, not {_described(value)}")
    return read(value, kind)


def lenient(value: Any, kind: type[T]) -> T:
    """Structure a response's JSON; unknown fields are ignored."""
    return LENIENT.structure(value, kind)


def write(value: Any) -> Any:
    """Turn a value into what JSON can hold, every field present."""
    return LENIENT.unstructure(value)


def write_sparse(value: Any) -> Any:
    """Turn a value into what JSON can hold, leaving out the fields that have their default."""
    return SPARSE.unstructure(value)


def dumps(value: Any) -> bytes:
    """Encode a value as JSON bytes."""
    return orjson.dumps(write(value))


def _walk(error: BaseException, path: str) -> Iterator[FieldError]:  # noqa: C901 - one case a kind of error
    if isinstance(error, _BadItemsError):
        for part, inner in error.errors:
            yield from _walk(inner, f"{path}{part}")
    elif isinstance(error, cattrs.ForbiddenExtraKeysError):
        for key in sorted(error.extra_fields):
            yield FieldError(path=f"{path}.{key}", message=NO_SUCH_FIELD)
    elif isinstance(error, cattrs.ClassValidationError):
        with_notes, without = error.group_exceptions()
        for inner, note in with_notes:
            yield from _walk(inner, f"{path}.{note.name}")
        for inner in without:
            yield from _walk(inner, path)
    elif isinstance(error, RefusedValueError):
        yield FieldError(path=f"{path}.{error.field}", message=str(error))
    elif isinstance(error, KeyError):
        yield FieldError(path=path, message="this field is missing")
    elif isinstance(error, AttributeError):
        yield FieldError(path=path, message="must be an object")
    else:
        yield FieldError(path=path, message=str(error) or type(error).__name__)
