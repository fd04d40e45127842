"""Who answers for a patient."""

from alembic import op

revision = "0013"
down_revision = "0015"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A column that code without it leaves out."""
    op.execute("ALTER TABLE patients ADD COLUMN guardian jsonb")
