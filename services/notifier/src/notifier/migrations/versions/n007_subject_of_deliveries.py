"""What a delivery is about."""

from alembic import op

from chassis.store import schema

revision = "n007"
down_revision = "n006"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new column, which code of before leaves empty."""
    schema.upgrade("v008", op)
