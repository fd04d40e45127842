"""Reviews of numbers in one message, and of a patient whom OmegaAI shows otherwise."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """New columns; the code before shows no page for a review without a second patient of the suite."""
    op.execute(
        """
        ALTER TABLE patient_reviews
            ALTER COLUMN second_id DROP NOT NULL,
            ADD COLUMN IF NOT EXISTS omegaai_id text,
            ADD COLUMN IF NOT EXISTS seen jsonb,
            ADD COLUMN IF NOT EXISTS journal_ids uuid[] NOT NULL DEFAULT '{}'
        """
    )
    op.execute(
        """
        CREATE UNIQUE INDEX IF NOT EXISTS uq_patient_reviews_omegaai ON patient_reviews (first_id, omegaai_id)
        WHERE second_id IS NULL
        """
    )
