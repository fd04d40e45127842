"""Each study's own start and length, its order's number, and whether that order is completed."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Add them beside the studies: code that does not know them goes on reading and writing those alone."""
    op.execute("ALTER TABLE appointment_links ADD COLUMN study_details jsonb NOT NULL DEFAULT '[]'")
