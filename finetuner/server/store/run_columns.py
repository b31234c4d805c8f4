"""The columns that describe a run, and what a row of them means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Row

from finetuner.api.types import RunStatus
from finetuner.server.store.tables import EXPERIMENTS, RUNS

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
_INNER: Final = frozenset({"examples", "experiment_id", "runtime", "artifact_sha256", "artifact_size", "config"})
_COLUMNS: Final = {"experiment_name": EXPERIMENTS.c.name.label("experiment_name"), **RUNS.c}
WITHOUT_CONFIG: Final = (
    *(_COLUMNS[name] for name in _WIRE),
    *(column for name, column in _COLUMNS.items() if name not in {*_WIRE, *_INNER}),
)
"""A query for runs selects these first, in this order."""
WITH_CONFIG: Final = (*WITHOUT_CONFIG, RUNS.c.config)


def to_json(
    row: Row[Any],
    *,
    with_config: bool = False,
    queue_position: int | None = None,
    secret_names: Sequence[str] | None = None,
) -> bytes:
    """Encode a run as the wire has it; stored JSON is spliced in as it is, config where it is wanted of a row with it."""
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
