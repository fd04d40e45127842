"""The count of deliveries in a row that a bug failed, and housekeeping's indexes of finished rows."""

from alembic import op

from chassis.store import schema

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """The indexes are made CONCURRENTLY: a running service goes on writing."""
    schema.upgrade("v003", op)
