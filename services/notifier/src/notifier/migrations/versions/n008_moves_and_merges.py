"""The place before a move, the patient in whose record another ended, and the index for a patient's appointments."""

from alembic import op

revision = "n008"
down_revision = "n007"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """Nullable columns, which older code leaves out. The index is made CONCURRENTLY: a running service goes on."""
    op.execute(
        """
        ALTER TABLE appointments ADD COLUMN IF NOT EXISTS former_start_at timestamptz,
            ADD COLUMN IF NOT EXISTS former_end_at timestamptz, ADD COLUMN IF NOT EXISTS former_facility_name varchar
        """
    )
    op.execute(
        "ALTER TABLE recipients ADD COLUMN IF NOT EXISTS merged_into uuid,"
        " ADD COLUMN IF NOT EXISTS merged_at timestamptz"
    )
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_appointments_patient_id")
        op.execute("CREATE INDEX CONCURRENTLY ix_appointments_patient_id ON appointments (patient_id)")
