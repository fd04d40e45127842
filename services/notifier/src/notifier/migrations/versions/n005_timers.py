"""The table of timers: what becomes due in the future."""

from alembic import op

from chassis.store import schema

revision = "n005"
down_revision = "n004"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new table, which older code does not know."""
    schema.upgrade("v006", op)
