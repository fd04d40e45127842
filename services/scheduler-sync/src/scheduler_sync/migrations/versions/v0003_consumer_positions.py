"""The chassis' tables of consumers' positions and of missed records."""

from alembic import op

from chassis.store import schema

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Add them."""
    schema.upgrade("v002", op)
