"""What data can be given as: the types, which the callbacks and the calls of both clients share."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeAlias, TypeVar, runtime_checkable


@runtime_checkable
class Frame(Protocol):
    """A data frame of pandas, polars or `datasets`, a table of pyarrow, or an array of numpy: what has a shape.

    None of them is imported to tell: whoever has such an object has imported its package.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns; of a series rows alone."""


DataSource: TypeAlias = str | Path | TextIO | Iterable[Any] | Frame
"""A file, an open file, a list or another iterable of texts or of rows, a data frame, a DocumentArray, or the name of a
data set that the server has."""


class Documents(Protocol):
    """A DocumentArray."""

    embeddings: Any
    """A vector for each document, once they were encoded."""
    texts: Any


DocumentsT = TypeVar("DocumentsT", bound=Documents)


def is_a(value: object, package: str, name: str) -> bool:
    """Whether a value is of a class of another package: nobody has such a value who has not imported it."""
    kind = getattr(sys.modules.get(package), name, None)
    return isinstance(kind, type) and isinstance(value, kind)
