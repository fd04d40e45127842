"""Indexes for the console's lists, and the columns of the HL7 journal that every store has."""

from alembic import op

from chassis.store import schema

revision = "n009"
down_revision = "n008"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """New columns, which older code leaves empty."""
    schema.upgrade("v009", op)
