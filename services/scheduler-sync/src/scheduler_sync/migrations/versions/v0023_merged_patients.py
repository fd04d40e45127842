"""What merges have made of a patient's numbers, and the patient that a record ended in."""

from alembic import op

revision = "0023"
down_revision = "0013"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Columns that code without them leaves out."""
    op.execute("ALTER TABLE patients ADD COLUMN number_roles jsonb NOT NULL DEFAULT '[]'")
    op.execute("ALTER TABLE patients ADD COLUMN merged_into uuid")
