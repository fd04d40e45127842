"""The subject of a delivery."""

from alembic import op

from chassis.store import schema

revision = "n007"
down_revision = "n006"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new column, which older code leaves empty."""
    schema.upgrade("v008", op)
