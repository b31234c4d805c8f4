"""Sync objects as the async ones that they wrap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def inner(value: Any) -> Any:
    """Give the async object behind a sync one; what is none stays as it is, for the call to refuse."""
    return getattr(value, "_async", value)


def inners(values: Any) -> Any:
    """Give the async objects behind sync ones, as a list; what is no collection stays as it is, to be refused."""
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | Mapping):
        return values
    return [inner(one) for one in values]
