"""The deliveries that former code wrote have their subject too."""

from alembic import op
from sqlalchemy import text

revision = "0092"
down_revision = "0091"
branch_labels = None
depends_on = None
phase = "after"

ROWS_A_STEP = 2000
# Former code wrote the subject into the idempotency key, as "appointment:<id>:…" or "patient:<id>:…". What goes to
# PowerServer is about its key.
_STEP = f"""
WITH step AS (
    SELECT id FROM deliveries WHERE subject IS NULL AND sequence > :last ORDER BY sequence LIMIT {ROWS_A_STEP}
    FOR UPDATE
), filled AS (
    UPDATE deliveries d SET subject = CASE
        WHEN d.idempotency_key ~ '^(appointment|patient):[0-9a-f-]{{36}}:'
        THEN split_part(d.idempotency_key, ':', 2)::uuid
        ELSE d.key END
    FROM step WHERE d.id = step.id RETURNING d.sequence
)
SELECT max(sequence) FROM filled
"""  # noqa: S608 (a constant)


def upgrade() -> None:
    """In steps that commit one by one, so that no worker waits for long."""
    with op.get_context().autocommit_block():
        last = 0
        while last is not None:
            last = op.get_bind().scalar(text(_STEP), {"last": last})
