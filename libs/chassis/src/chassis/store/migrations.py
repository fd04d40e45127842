"""Alembic, run by a job and never at start-up. A revision's ``phase`` says whether it goes before or after its code.

*before*: adds what the new code needs and the old one ignores. *after*: takes away what only the old code used. A
rollout applies the first kind, replaces the processes, then applies the second. Each revision is a transaction of its
own, but for the indexes that it makes CONCURRENTLY, so that a running service is not blocked.
"""

import asyncio
from pathlib import Path
from typing import Final, Literal

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool

from chassis.errors import StoreUnavailable
from chassis.store.store import SESSION_SETTINGS, is_of_the_schema, is_passing, sqlalchemy_engine, unavailable

Phase = Literal["before", "after"]
LOCK: Final = 0x516  # two migration jobs wait for each other
_SETTINGS: Final = {
    # A migration takes as long as it takes, and waits for as long as another job has the lock.
    **SESSION_SETTINGS,
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
LOCK_PAUSE_SECONDS: Final = 0.5


class MigrationError(RuntimeError):
    """A revision is not marked, or stands in an order that a rollout could not apply."""


async def run(directory: Path, url: str, phase: Phase | None = None) -> list[str]:
    """Applies what is missing, in order; of one ``phase`` only up to the first of the other. Returns their names.

    Raises ``MigrationError`` and ``StoreUnavailable``.
    """
    engine = sqlalchemy_engine(url, settings=_SETTINGS, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await _lock(connection)
            return await connection.run_sync(_upgrade, directory, phase)
    except Exception as error:
        if isinstance(error, StoreUnavailable) or is_of_the_schema(error) or not is_passing(error):
            raise  # what a migration does wrong is shown as it is
        raise unavailable(url, error) from error
    finally:
        await engine.dispose()


async def _lock(connection: AsyncConnection) -> None:
    """For as long as the connection lives.

    It asks again and again: a job that waited inside a statement would be waited for by the other's index that is made
    CONCURRENTLY, and both would wait for ever.
    """
    while not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        await connection.rollback()
        await asyncio.sleep(LOCK_PAUSE_SECONDS)
    await connection.rollback()


def _upgrade(connection: Connection, directory: Path, phase: Phase | None) -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(directory))
    scripts = ScriptDirectory.from_config(config)
    applied: list[str] = []
    with EnvironmentContext(config, scripts) as environment:
        environment.configure(connection=connection, fn=lambda _rev, _context: [])
        current = environment.get_context().get_current_revision()
        connection.rollback()  # else each revision would join the transaction in which that was read
        target, names = _target(scripts, current, phase)
        if target is None:
            return applied
        environment.configure(
            connection=connection,
            transaction_per_migration=True,
            fn=lambda revision, _context: scripts._upgrade_revs(target, revision),  # noqa: SLF001 (as Alembic's own command does)
        )
        with environment.begin_transaction():
            environment.run_migrations()
        return names


def _target(scripts: ScriptDirectory, current: str | None, phase: Phase | None) -> tuple[str | None, list[str]]:
    """The last revision to apply, and the names of all that are applied on the way."""
    pending: list[Script] = []
    for script in scripts.walk_revisions():  # newest first
        if script.revision == current:
            break
        pending.insert(0, script)
    chosen: list[Script] = []
    for script in pending:
        found = getattr(script.module, "phase", None)
        if found not in {"before", "after"}:
            raise MigrationError(f'migration {script.revision} has no phase: set phase = "before" or "after"')
        if phase is not None and found != phase:
            if phase == "after":
                raise MigrationError(f"migration {script.revision} goes before the code: apply phase before first")
            break
        chosen.append(script)
    names = [f"{script.revision} ({script.doc})" for script in chosen]
    return (chosen[-1].revision if chosen else None), names
