"""How many runs there are, kept as they come, change and go; and an index that counts them without their rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_CAME = """
    INSERT INTO run_counts (status, owner_id, is_listed, n)
    VALUES (NEW.status, NEW.owner_id, NEW.experiment_id IS NOT NULL, 1)
    ON CONFLICT (status, owner_id, is_listed) DO UPDATE SET n = n + 1;
"""
_WENT = """
    UPDATE run_counts SET n = n - 1
    WHERE status = OLD.status AND owner_id = OLD.owner_id AND is_listed = (OLD.experiment_id IS NOT NULL);
"""


def upgrade() -> None:
    op.create_table(
        "run_counts",
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("owner_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("is_listed", sa.Boolean(), nullable=False),
        sa.Column("n", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("status", "owner_id", "is_listed", name=op.f("pk_run_counts")),
    )
    op.execute(
        "INSERT INTO run_counts SELECT status, owner_id, experiment_id IS NOT NULL, count(*) FROM runs GROUP BY 1, 2, 3"
    )
    op.execute(f"CREATE TRIGGER run_came AFTER INSERT ON runs BEGIN {_CAME} END")
    op.execute(f"CREATE TRIGGER run_went AFTER DELETE ON runs BEGIN {_WENT} END")
    op.execute(
        "CREATE TRIGGER run_moved AFTER UPDATE OF status, owner_id, experiment_id ON runs"
        " WHEN (OLD.status, OLD.owner_id, OLD.experiment_id IS NULL)"
        " IS NOT (NEW.status, NEW.owner_id, NEW.experiment_id IS NULL)"
        f" BEGIN {_WENT} {_CAME} END"
    )
    op.drop_index("ix_runs_owner_id_seq", table_name="runs")
    op.create_index("ix_runs_owner_id_seq_experiment_id", "runs", ["owner_id", "seq", "experiment_id"])
