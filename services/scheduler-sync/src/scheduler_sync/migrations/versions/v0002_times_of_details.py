"""When each detail of a patient was last said, where that is not when the patient was last heard of."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Add it. Of patients who are known already every detail counts as said at ``heard_at``, as it did."""
    op.execute("ALTER TABLE patients ADD COLUMN details_heard_at jsonb NOT NULL DEFAULT '{}'")
