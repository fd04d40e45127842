"""The table of sessions on the pages."""

from alembic import op

from chassis.store import schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Create the table; a service without an identity provider leaves it empty."""
    schema.upgrade("v007", op)
