"""Data frames: pandas, polars, `datasets`, pyarrow and numpy, none of which is imported here."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from finetuner.api.sources import Frame, is_a
from finetuner.data.cells import read_named
from finetuner.data.kinds import Row
from finetuner.errors import InvalidData

_BATCH_ROWS: Final = 1000


def read_frame(frame: Frame, *, is_labeled: bool) -> tuple[Iterator[Row], bool]:
    """Give the rows of a frame, numbered from 1, without its index; and whether they are texts with their labels.

    Raises:
        InvalidData: It is of no known kind, its columns make no data set, or a value cannot be used.
    """
    names, rows = _table(frame)
    if len(set(names)) < len(names):
        raise InvalidData(f"two of its columns have the same name: {', '.join(map(repr, names))}")
    return read_named(names, rows, is_labeled=is_labeled)


def read_records(records: Iterator[Any], *, is_labeled: bool) -> tuple[Iterator[Row], bool]:
    """Give the rows of mappings, such as those of a streamed `datasets` data set; all have the same keys."""
    first: Mapping[str, Any] = next(records)
    names = list(first)

    def values() -> Iterator[Sequence[Any]]:
        for number, record in enumerate(itertools.chain([first], records), start=1):
            if not isinstance(record, Mapping) or record.keys() != first.keys():
                shown = f"keys {', '.join(map(repr, record))}" if isinstance(record, Mapping) else repr(record)[:60]
                raise InvalidData(
                    f"row {number}: it must have the keys of the first, {', '.join(map(repr, names))}, not {shown}",
                    line=number,
                )
            yield [record[name] for name in names]

    return read_named([str(name) for name in names], values(), is_labeled=is_labeled)


def _table(frame: Any) -> tuple[list[str], Iterator[Sequence[Any]]]:
    if is_a(frame, "pandas", "DataFrame"):
        return [str(name) for name in frame.columns], frame.itertuples(index=False, name=None)
    if is_a(frame, "polars", "DataFrame"):
        return list(frame.columns), frame.iter_rows()
    if is_a(frame, "datasets", "Dataset"):
        return list(frame.column_names), _batched(frame.column_names, frame.iter(batch_size=_BATCH_ROWS))
    if is_a(frame, "pyarrow", "Table"):
        batches = (batch.to_pydict() for batch in frame.to_batches(max_chunksize=_BATCH_ROWS))
        return list(frame.column_names), _batched(frame.column_names, batches)
    if is_a(frame, "pandas", "Series") or is_a(frame, "polars", "Series"):
        return [str(frame.name or "text")], ((value,) for value in frame)
    if is_a(frame, "numpy", "ndarray") and frame.ndim in {1, 2}:
        rows: Iterable[Any] = frame.tolist()
        width = 1 if frame.ndim == 1 else frame.shape[1]
        return [str(place + 1) for place in range(width)], ((row,) if frame.ndim == 1 else row for row in rows)
    raise InvalidData(
        f"a {type(frame).__name__} is no data that can be read here: give a data frame of pandas, polars or datasets, "
        "or a list of rows"
    )


def _batched(names: Sequence[str], batches: Iterable[Mapping[str, Sequence[Any]]]) -> Iterator[Sequence[Any]]:
    for batch in batches:
        yield from zip(*(batch[name] for name in names), strict=True)
