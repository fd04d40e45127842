"""The search of messages: its indexes, and the searches that people make."""

from alembic import op

from chassis.store import schema

revision = "0025"
down_revision = "0012"
branch_labels = None
depends_on = None
phase = "before"

_INDEXES = {
    "ix_link_history_cause_id": "link_history (cause_id)",
    "ix_link_history_tasks": "link_history (at) WHERE source = 'omegaai'",
    "ix_parked_tasks_waiting": "parked_tasks (parked_at) WHERE replayed_at IS NULL",
}


def upgrade() -> None:
    """New columns, which older code leaves empty; indexes CONCURRENTLY: a running service goes on."""
    schema.upgrade("v009", op)
    op.execute(
        """
        CREATE TABLE IF NOT EXISTS message_searches (
            id      uuid        NOT NULL,
            actor   text        NOT NULL,
            wanted  jsonb       NOT NULL,
            made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
            CONSTRAINT pk_message_searches PRIMARY KEY (id)
        )
        """
    )
    op.execute("CREATE INDEX IF NOT EXISTS ix_message_searches_made_at ON message_searches (made_at)")
    for name, on in _INDEXES.items():
        with op.get_context().autocommit_block():
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
            op.execute(f"CREATE INDEX CONCURRENTLY {name} ON {on}")
