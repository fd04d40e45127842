"""The store's identity: its site, its partners, and its number of recoveries."""

from alembic import op

from chassis.store import schema

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Create the table; the next start writes its row."""
    schema.upgrade("v005", op)
