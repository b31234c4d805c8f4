"""A number of each run that grows with every change of it: by it, what was read once is known to be true still."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("runs", sa.Column("version", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "CREATE TRIGGER run_changed AFTER UPDATE ON runs WHEN NEW.version = OLD.version"
        " BEGIN UPDATE runs SET version = OLD.version + 1 WHERE seq = NEW.seq; END"
    )
