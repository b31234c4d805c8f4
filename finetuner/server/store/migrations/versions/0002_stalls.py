"""Runs from which nothing was heard for long."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("runs", sa.Column("stalled_since", sa.String(length=27), nullable=True))
