"""The chassis' tables of consumers' positions and of missed records."""

from alembic import op

from chassis.store import schema

revision = "n002"
down_revision = "n001"
branch_labels = None
depends_on = None
phase = "before"


def upgrade() -> None:
    schema.upgrade("v002", op)
