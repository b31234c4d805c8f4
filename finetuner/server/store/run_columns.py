"""The columns that describe a run, and what a row of them means.

A list of runs has its JSON made by SQLite, which does it in half the time, and while the event loop goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Row, func

from finetuner.api.types import RunStatus
from finetuner.server.store.tables import EXPERIMENTS, RUNS

JOINED: Final = RUNS.join(EXPERIMENTS, EXPERIMENTS.c.id == RUNS.c.experiment_id)
"""Runs that readers see: one that is being deleted has no experiment."""
_PLAIN: Final = (
    "id",
    "seq",
    "name",
    "experiment_name",
    "status",
    "details",
    "task",
    "description",
    "artifact_id",
    "created_at",
    "started_at",
    "finished_at",
    "stalled_since",
    "device",
    "cpus",
    "gpus",
    "public",
)
_JSON: Final = ("failure", "tags", "progress", "metrics")
_WIRE: Final = (*_PLAIN, *_JSON)
_INNER: Final = frozenset(
    {"examples", "experiment_id", "runtime", "artifact_sha256", "artifact_size", "config", "version"}
)
_COLUMNS: Final[Mapping[str, Any]] = {"experiment_name": EXPERIMENTS.c.name.label("experiment_name"), **RUNS.c}
WITHOUT_CONFIG: Final[tuple[Any, ...]] = (
    *(_COLUMNS[name] for name in _WIRE),
    *(column for name, column in _COLUMNS.items() if name not in {*_WIRE, *_INNER}),
)
"""A query for runs selects these first, in this order."""
WITH_CONFIG: Final[tuple[Any, ...]] = (*WITHOUT_CONFIG, RUNS.c.config)
_ASCII: Final = frozenset({"id", "status", "task", "artifact_id", "created_at"})
"""What needs no escapes, and is never null."""
_NO_PLACE: Final = b',"queue_position":null}'


def _written(name: str) -> tuple[str, Any]:
    """Give how SQLite's `printf` writes a column as JSON, and what it is given for that."""
    column: Any = EXPERIMENTS.c.name if name == "experiment_name" else RUNS.c[name]
    if name in _ASCII:
        return '"%s"', column
    if name == "public":
        return "%s", func.iif(column, "true", "false")
    return "%s", func.coalesce(column, "null") if name in {*_JSON, "config"} else func.json_quote(column)


def _as_json(*names: str) -> ColumnElement[str]:
    written = {name: _written(name) for name in names}
    template = ",".join(f'"{name}":{form}' for name, (form, _) in written.items())
    return func.printf("{" + template, *(value for _, value in written.values())).label("json")


BEGUN_WITHOUT_CONFIG: Final = _as_json(*_WIRE)
"""What `to_json` gives, made by SQLite: without the place in the queue, which `completed` adds."""
BEGUN_WITH_CONFIG: Final = _as_json(*_WIRE, "config")


def completed(begun: bytes, queue_position: int | None) -> bytes:
    """Give the whole JSON of a run that SQLite began."""
    return begun + (_NO_PLACE if queue_position is None else b',"queue_position":%d}' % queue_position)


def to_json(
    row: Row[Any],
    *,
    with_config: bool = False,
    queue_position: int | None = None,
    secret_names: Sequence[str] | None = None,
) -> bytes:
    """Encode a run as the wire has it; stored JSON is spliced in as it is."""
    value: dict[str, Any] = dict(zip(_WIRE, row, strict=False))  # and no more: the rest is not for the wire
    for name in _JSON:
        if (text := value[name]) is not None:
            value[name] = orjson.Fragment(text)
    value["queue_position"] = queue_position if value["status"] == RunStatus.CREATED else None
    if secret_names:
        value["secret_names"] = list(secret_names)
    if with_config:
        value["config"] = orjson.Fragment(row.config)
    return orjson.dumps(value)
