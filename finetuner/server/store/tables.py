"""The tables of the service's database.

Times are ISO 8601 texts in UTC, as the wire has them; JSON columns hold the texts that are sent. A run that is being
deleted has no experiment: readers see it no more and its name is free, while its row stays until its directory is gone.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

_BIG: Final = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself in a column of its own INTEGER type alone."""

METADATA: Final = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _time(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, String(27), nullable=nullable)


USERS: Final = Table(
    "users",
    METADATA,
    Column("id", _BIG, primary_key=True),
    Column("name", String(128), nullable=False, unique=True),
    Column("is_admin", Boolean, nullable=False),
    Column("disabled", Boolean, nullable=False),
    _time("created_at"),
    sqlite_autoincrement=True,
)

TOKENS: Final = Table(
    "tokens",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("user_id", _BIG, ForeignKey("users.id"), nullable=False, index=True),
    _time("created_at"),
)

EXPERIMENTS: Final = Table(
    "experiments",
    METADATA,
    Column("id", _BIG, primary_key=True),
    Column("owner_id", _BIG, ForeignKey("users.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("description", Text, nullable=False),
    _time("created_at"),
    UniqueConstraint("owner_id", "name"),
    sqlite_autoincrement=True,
)

RUNS: Final = Table(
    "runs",
    METADATA,
    Column("seq", _BIG, primary_key=True),
    Column("id", String(24), nullable=False, unique=True),
    Column("owner_id", _BIG, ForeignKey("users.id"), nullable=False),
    Column("experiment_id", _BIG, ForeignKey("experiments.id")),
    Column("name", String(128), nullable=False),
    Column("status", String(8), nullable=False),
    Column("details", Text, nullable=False),
    Column("failure", Text),
    Column("task", String(16), nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("artifact_id", String(24), nullable=False, unique=True),
    Column("artifact_sha256", String(64), index=True),
    Column("artifact_size", _BIG),
    Column("progress", Text),
    Column("metrics", Text, nullable=False),
    Column("examples", Text, nullable=False),
    Column("device", String(16)),
    Column("cpus", Integer),
    Column("gpus", Integer),
    Column("public", Boolean, nullable=False),
    Column("runtime", Text),
    _time("created_at"),
    _time("started_at", nullable=True),
    _time("finished_at", nullable=True),
    _time("stalled_since", nullable=True),
    Column("events_offset", _BIG, nullable=False),
    Column("cancel_requested", Boolean, nullable=False),
    Column("deleting", Boolean, nullable=False),
    Column("version", Integer, nullable=False, server_default="0"),
    UniqueConstraint("experiment_id", "name"),
    Index(None, "owner_id", "seq", "experiment_id"),
    Index(None, "experiment_id", "seq"),
    Index(None, "status", "seq"),
    Index("ix_runs_deleting", "deleting", sqlite_where=text("deleting"), postgresql_where=text("deleting")),
    sqlite_autoincrement=True,
)

RUN_COUNTS: Final = Table(
    "run_counts",
    METADATA,
    Column("status", String(8), primary_key=True),
    Column("owner_id", _BIG, primary_key=True),
    Column("is_listed", Boolean, primary_key=True),
    Column("n", _BIG, nullable=False),
)
"""How many runs there are of each kind; triggers of the database keep it, which migration 0003 made."""

RUN_TAGS: Final = Table(
    "run_tags",
    METADATA,
    Column("run_seq", _BIG, ForeignKey("runs.seq", ondelete="CASCADE"), primary_key=True),
    Column("tag", String(128), primary_key=True),
)

RUN_DATA: Final = Table(
    "run_data",
    METADATA,
    Column("run_seq", _BIG, ForeignKey("runs.seq", ondelete="CASCADE"), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("sha256", String(64), nullable=False, index=True),
)

SECRETS: Final = Table(
    "secrets",
    METADATA,
    Column("run_id", String(24), primary_key=True),
    Column("json", Text, nullable=False),
)

CHANGES: Final = Table(
    "changes",
    METADATA,
    Column("cursor", _BIG, primary_key=True),
    Column("owner_id", _BIG, nullable=False),
    Column("run_id", String(24), nullable=False, index=True),
    Column("run_seq", _BIG, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("before", String(8)),
    Column("after", String(8)),
    _time("at"),
    Index(None, "owner_id", "cursor"),
    sqlite_autoincrement=True,
)

STATE: Final = Table(
    "state",
    METADATA,
    Column("key", String(32), primary_key=True),
    Column("value", _BIG, nullable=False),
)

IDEMPOTENCY: Final = Table(
    "idempotency",
    METADATA,
    Column("owner_id", _BIG, primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body_sha256", String(64), nullable=False),
    Column("run_id", String(24), nullable=False),
    _time("created_at"),
)

BLOBS: Final = Table(
    "blobs",
    METADATA,
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", _BIG, nullable=False),
    _time("keep_until"),
)

BLOB_OWNERS: Final = Table(
    "blob_owners",
    METADATA,
    Column("sha256", String(64), ForeignKey("blobs.sha256", ondelete="CASCADE"), primary_key=True),
    Column("owner_id", _BIG, ForeignKey("users.id"), primary_key=True),
)

UPLOADS: Final = Table(
    "uploads",
    METADATA,
    Column("owner_id", _BIG, ForeignKey("users.id"), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("length", _BIG, nullable=False),
    _time("created_at"),
)

DATASETS: Final = Table(
    "datasets",
    METADATA,
    Column("id", _BIG, primary_key=True),
    Column("owner_id", _BIG, ForeignKey("users.id"), nullable=False),
    Column("name", String(128), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("columns", Text, nullable=False),
    Column("rows", _BIG, nullable=False),
    Column("sha256", String(64), ForeignKey("blobs.sha256"), nullable=False, index=True),
    Column("size_bytes", _BIG, nullable=False),
    _time("created_at"),
    UniqueConstraint("owner_id", "name"),
    sqlite_autoincrement=True,
)
