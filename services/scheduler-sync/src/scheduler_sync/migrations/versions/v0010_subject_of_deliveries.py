"""What a delivery is about: a patient or an appointment, where both go under the patient's key."""

from alembic import op

from chassis.store import schema

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    """A new column, which code of before leaves empty. Revision 0012, after the code, fills it in."""
    schema.upgrade("v008", op)
