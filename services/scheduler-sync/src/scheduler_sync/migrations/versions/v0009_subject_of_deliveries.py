"""What a delivery is about: a patient or an appointment, where both go under the patient's key."""

from alembic import op

from chassis.store import schema

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new column, which code of before leaves empty. Revision 0011, after the code, fills it in."""
    schema.upgrade("v007", op)
