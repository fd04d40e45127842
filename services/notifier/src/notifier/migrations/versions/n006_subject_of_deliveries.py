"""What a delivery is about."""

from alembic import op

from chassis.store import schema

revision = "n006"
down_revision = "n005"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new column, which code of before leaves empty."""
    schema.upgrade("v007", op)
