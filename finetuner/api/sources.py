"""What data can be given as: the types alone, which the callbacks and the calls of both clients share."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TextIO, TypeAlias, runtime_checkable


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
