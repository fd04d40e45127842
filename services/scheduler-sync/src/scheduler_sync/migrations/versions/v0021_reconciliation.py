"""Tables of the reconciliation: its runs and differences, and what both products showed."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None
phase = "before"

_TABLES = (
    """
    CREATE TABLE reconcile_runs (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_reconcile_runs PRIMARY KEY,
        state text NOT NULL,
        holder uuid,
        wanted_by text NOT NULL,
        wanted_at timestamptz NOT NULL,
        day date,
        dry_run boolean NOT NULL,
        started_at timestamptz,
        finished_at timestamptz,
        first_day date,
        end_day date,
        counts jsonb NOT NULL DEFAULT '{}',
        reason text,
        answered_by text
    )
    """,
    """
    CREATE INDEX ix_reconcile_runs_open ON reconcile_runs (id)
        WHERE state IN ('wanted', 'reading', 'healing', 'asks', 'approved')
    """,
    """
    CREATE TABLE reconcile_differences (
        id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_reconcile_differences PRIMARY KEY,
        run_id bigint NOT NULL CONSTRAINT fk_reconcile_differences_run_id_reconcile_runs
            REFERENCES reconcile_runs (id) ON DELETE CASCADE,
        side text NOT NULL,
        kind text NOT NULL,
        link_id uuid,
        key text,
        fields text[] NOT NULL,
        ours jsonb NOT NULL,
        theirs jsonb NOT NULL,
        settled text NOT NULL,
        why text,
        noted_at timestamptz NOT NULL,
        since timestamptz NOT NULL
    )
    """,
    """
    CREATE INDEX ix_reconcile_differences_run ON reconcile_differences (run_id, id)
    """,
    """
    CREATE INDEX ix_reconcile_differences_noted ON reconcile_differences (noted_at)
    """,
    """
    CREATE UNLOGGED TABLE reconcile_seen (
        number bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_reconcile_seen PRIMARY KEY,
        side text NOT NULL,
        day date NOT NULL,
        key text NOT NULL,
        link_id uuid,
        placer text,
        accession text,
        status text NOT NULL,
        starts timestamptz,
        ends timestamptz,
        resource text,
        patient text
    )
    """,
    """
    CREATE INDEX ix_reconcile_seen_day ON reconcile_seen (side, day)
    """,
    """
    CREATE INDEX ix_reconcile_seen_key ON reconcile_seen (side, key)
    """,
    """
    CREATE UNLOGGED TABLE reconcile_days (
        side text NOT NULL,
        day date NOT NULL,
        digest text NOT NULL,
        read_at timestamptz NOT NULL,
        known_at timestamptz NOT NULL,
        CONSTRAINT pk_reconcile_days PRIMARY KEY (side, day)
    )
    """,
)


def upgrade() -> None:
    """New tables: the code before them does not know them."""
    for statement in _TABLES:
        op.execute(statement)
