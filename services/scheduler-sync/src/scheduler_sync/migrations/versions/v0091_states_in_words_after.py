"""States are words in the store: the rows of the former version are rewritten."""

from typing import Any

from alembic import op
from sqlalchemy import text

revision = "0091"
down_revision = "0027"
branch_labels = None
depends_on = None
phase = "after"

ROWS_A_STEP = 2000
_WORDS = """
(VALUES ('L0', 'unscheduled'), ('L1', 'staff-booked'), ('L2', 'confirmed'), ('L3', 'move-requested'),
    ('L4', 'patient-booked'), ('L5', 'arrived'), ('L6', 'done'), ('L7', 'cancelled'), ('new', 'new')
) AS {0} (number, word)
"""
# Each step reads on from the last id of the step before, and locks its rows in the order in which services lock them.
_LINKS = f"""
WITH step AS (
    SELECT id FROM appointment_links WHERE id > :last ORDER BY id LIMIT {ROWS_A_STEP} FOR UPDATE
), changed AS (
    UPDATE appointment_links l SET state = w.word FROM step, {_WORDS.format("w")}
    WHERE l.id = step.id AND l.state = w.number
)
SELECT max(id::text)::uuid FROM step
"""  # noqa: S608 (constants)
_HISTORY = f"""
WITH step AS (
    SELECT id FROM link_history WHERE id > :last ORDER BY id LIMIT {ROWS_A_STEP} FOR UPDATE
), changed AS (
    UPDATE link_history h SET state_before = b.word, state_after = a.word
    FROM step, {_WORDS.format("b")}, {_WORDS.format("a")}
    WHERE h.id = step.id AND h.state_before = b.number AND h.state_after = a.number
)
SELECT max(id) FROM step
"""  # noqa: S608 (constants)
_CONFLICTS = f"""
WITH step AS (
    SELECT id FROM conflicts WHERE id > :last ORDER BY id LIMIT {ROWS_A_STEP} FOR UPDATE
), changed AS (
    UPDATE conflicts c SET why = replace(c.why, ' refused in state ' || w.number, ' refused in state ' || w.word)
    FROM step, {_WORDS.format("w")}
    WHERE c.id = step.id AND c.why LIKE '% refused in state ' || w.number || ':%'
)
SELECT max(id) FROM step
"""  # noqa: S608 (constants)


def upgrade() -> None:
    """In steps that commit one by one: a service that writes meanwhile waits for none of them for long.

    What an earlier, interrupted try did is done no second time.
    """
    op.execute("DROP TRIGGER IF EXISTS keep_number_of_link ON appointment_links")
    op.execute("DROP TRIGGER IF EXISTS keep_numbers_of_history ON link_history")
    op.execute("DROP FUNCTION IF EXISTS keep_number_of_link()")
    op.execute("DROP FUNCTION IF EXISTS keep_numbers_of_history()")
    op.execute("DROP FUNCTION IF EXISTS number_of_state(text)")
    op.execute("ALTER TABLE appointment_links DROP CONSTRAINT IF EXISTS ck_appointment_links_state")
    with op.get_context().autocommit_block():
        _rewrite(_LINKS, "00000000-0000-0000-0000-000000000000")
        _rewrite(_HISTORY, 0)
        _rewrite(_CONFLICTS, 0)
    op.execute(
        "ALTER TABLE appointment_links ADD CONSTRAINT ck_appointment_links_state CHECK (state IN ('unscheduled', "
        "'staff-booked', 'confirmed', 'move-requested', 'patient-booked', 'arrived', 'done', 'cancelled')) NOT VALID"
    )
    op.execute("ALTER TABLE appointment_links VALIDATE CONSTRAINT ck_appointment_links_state")


def _rewrite(statement: str, first: Any) -> None:
    last = first
    while last is not None:
        last = op.get_bind().scalar(text(statement), {"last": last})
