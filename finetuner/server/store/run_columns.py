"""The columns that describe a run, and what a row of them means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson
from sqlalchemy import Row

from finetuner.api.types import RunStatus
from finetuner.server.store.tables import EXPERIMENTS, RUNS

_INNER: Final = frozenset({"examples", "experiment_id", "runtime", "artifact_sha256", "artifact_size", "config"})
WITHOUT_CONFIG: Final = (
    EXPERIMENTS.c.name.label("experiment_name"),
    *(column for column in RUNS.c if column.name not in _INNER),
)
WITH_CONFIG: Final = (*WITHOUT_CONFIG, RUNS.c.config)
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


def to_json(row: Row[Any], *, queue_position: int | None = None, secret_names: Sequence[str] | None = None) -> bytes:
    """Encode a run as the wire has it; stored JSON is spliced in as it is, config where the row has it."""
    fields = row._mapping  # noqa: SLF001 - SQLAlchemy's documented name
    value: dict[str, Any] = {name: fields[name] for name in _PLAIN}
    for name in _JSON:
        text = fields[name]
        value[name] = None if text is None else orjson.Fragment(text)
    value["queue_position"] = queue_position if row.status == RunStatus.CREATED else None
    if secret_names:
        value["secret_names"] = list(secret_names)
    if "config" in fields:
        value["config"] = orjson.Fragment(fields["config"])
    return orjson.dumps(value)
