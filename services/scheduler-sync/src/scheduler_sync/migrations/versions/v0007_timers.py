"""The table of timers: what becomes due in the future."""

from alembic import op

from chassis.store import schema

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new table, which code of before does not know."""
    schema.upgrade("v006", op)
