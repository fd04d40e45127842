"""A real Postgres that refuses: the first statements on a table fail with the SQLSTATE that a test names."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.store import Store

FOR_EVER = 10**9
NOT_NOW = (
    "57014",  # an administrator's cancel, or statement_timeout
    "55P03",  # lock_timeout
    "25006",  # read-only
    "25P02",
    "25P04",
    "57P01",
    "57P99",  # a code that nobody knows yet
    "53100",
    "58030",
    "XX000",
    "72000",
    "26000",
    "3D000",
    "42501",
    "42P01",
    "42703",
    "42P10",
    "42883",
)
COLLISIONS = ("40001", "40P01")
_REFUSE = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('refusals') <= {times} THEN RAISE EXCEPTION 'told so' USING ERRCODE = '{state}'; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuses BEFORE {when} ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse();
"""


@asynccontextmanager
async def refusing(
    store: Store, table: str, state: str, *, times: int = FOR_EVER, when: str = "INSERT OR UPDATE"
) -> AsyncIterator[None]:
    """Inside the block, the first ``times`` statements of the kinds ``when`` on ``table`` fail."""
    await store.pool.execute(_REFUSE.format(table=table, state=state, times=times, when=when))
    try:
        yield
    finally:
        await store.pool.execute(f"DROP TRIGGER refuses ON {table}; DROP FUNCTION refuse; DROP SEQUENCE refusals")


async def refused(store: Store) -> int:
    """The number of statements so far, refused or not."""
    return int(await store.pool.fetchval("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM refusals"))
