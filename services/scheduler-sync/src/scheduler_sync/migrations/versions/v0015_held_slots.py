"""What a hold of the scheduling API is for: its claim has only the time."""

from alembic import op

revision = "0015"
down_revision = "0025"
branch_labels = None
depends_on = None
phase = "before"

_TABLE = """
CREATE TABLE held_slots (
    id          uuid        NOT NULL,
    client      text        NOT NULL,
    facility    text        NOT NULL,
    resource    text        NOT NULL,
    slot_start  timestamptz NOT NULL,
    slot_end    timestamptz NOT NULL,
    studies     jsonb       NOT NULL,
    patient_id  uuid,
    moves_id    uuid,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT pk_held_slots PRIMARY KEY (id),
    CONSTRAINT ck_held_slots_slot CHECK (slot_end > slot_start)
)
"""


def upgrade() -> None:
    """A new table, which former code does not know."""
    op.execute(_TABLE)
    op.execute("CREATE INDEX ix_held_slots_expires_at ON held_slots (expires_at)")
