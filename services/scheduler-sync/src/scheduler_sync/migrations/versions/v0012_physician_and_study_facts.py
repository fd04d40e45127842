"""Who referred the patient; and each study's procedure codes and Study UID."""

from alembic import op

revision = "0012"
down_revision = "0021"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Columns that code without them leaves out."""
    op.execute("ALTER TABLE appointment_links ADD COLUMN referring_physician jsonb")
    op.execute("ALTER TABLE appointment_links ADD COLUMN study_facts jsonb NOT NULL DEFAULT '[]'")
