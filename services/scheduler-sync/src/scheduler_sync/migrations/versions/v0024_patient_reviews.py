"""Pairs of patients who may be one person, for a person to decide."""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new table: the code before it does not know it."""
    op.execute(
        """
        CREATE TABLE patient_reviews (
            id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_patient_reviews PRIMARY KEY,
            first_id uuid NOT NULL,
            second_id uuid NOT NULL,
            reasons text[] NOT NULL,
            state text NOT NULL,
            found_at timestamptz NOT NULL,
            decided_at timestamptz,
            decided_by text,
            CONSTRAINT uq_patient_reviews_first_id UNIQUE (first_id, second_id)
        )
        """
    )
