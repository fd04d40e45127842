"""Alembic, run by a job and never at start-up.

A revision's ``phase`` says whether it runs before or after its code. *before* adds what the new code needs and the old
code ignores. *after* removes what only the old code used. A rollout applies the first phase, replaces the processes,
then applies the second phase. Each revision is one transaction, except indexes made CONCURRENTLY, which do not block a
running service.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

from alembic.autogenerate import produce_migrations
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData, Text, text
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import NullPool
from sqlalchemy.types import TypeEngine
from sqlmodel import AutoString

from chassis.errors import StoreUnavailable
from chassis.store import tables
from chassis.store.store import SESSION_SETTINGS, is_of_the_schema, is_passing, sqlalchemy_engine, unavailable

Phase = Literal["before", "after"]
LOCK: Final = 0x516  # two migration jobs wait for each other
_SETTINGS: Final = {
    # A migration has no statement timeout, and waits for the lock of another job without limit.
    **SESSION_SETTINGS,
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}
LOCK_PAUSE_SECONDS: Final = 0.5


class MigrationError(RuntimeError):
    """A revision has no phase, or its order does not fit a rollout."""


async def run(directory: Path, url: str, phase: Phase | None = None) -> list[str]:
    """Applies the missing revisions in order; with a ``phase``, only up to the first revision of the other phase.

    Returns their names. Raises ``MigrationError`` and ``StoreUnavailable``.
    """
    engine = sqlalchemy_engine(url, settings=_SETTINGS, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await _lock(connection)
            return await connection.run_sync(_upgrade, directory, phase)
    except Exception as error:
        if isinstance(error, StoreUnavailable) or is_of_the_schema(error) or not is_passing(error):
            raise  # an error of a migration itself is shown unchanged
        raise unavailable(url, error) from error
    finally:
        await engine.dispose()


async def _lock(connection: AsyncConnection) -> None:
    """Holds the lock for the life of the connection.

    It polls for the lock: a job that waited inside a statement would block the other job's CREATE INDEX CONCURRENTLY,
    and both would wait for ever.
    """
    while not await connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": LOCK}):
        await connection.rollback()
        await asyncio.sleep(LOCK_PAUSE_SECONDS)
    await connection.rollback()


async def differences(url: str, *metadata: MetaData) -> list[str]:
    """A line for each difference between the live catalogue and the models of ``metadata`` and the chassis.

    Compares tables, columns with their types and nullability, indexes, unique constraints and foreign keys. Raises
    ``StoreUnavailable``.
    """
    engine = sqlalchemy_engine(url, settings=_SETTINGS, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(_compare, [tables.Base.metadata, *metadata])
    finally:
        await engine.dispose()


def _compare(connection: Connection, metadata: Sequence[MetaData]) -> list[str]:
    options = {"compare_type": _is_another_type, "include_name": _is_compared, "target_metadata": metadata}
    context = MigrationContext.configure(connection, opts=options)
    found = produce_migrations(context, metadata).upgrade_ops  # type: ignore[arg-type]  # it takes several, too
    return [] if found is None else [_line_of(one) for one in found.as_diffs()]


def _line_of(difference: Any) -> str:
    """``add_column deliveries.kind``: the step that a migration lacks."""
    if isinstance(difference, list):  # several changes of one column come as a list
        return "; ".join(_line_of(one) for one in difference)
    word, *what = difference
    if word.startswith("modify_"):
        _, table, column, _, before, after = what
        return f"{word} {table}.{column}: is {before}, {after} in the model"
    thing = what[-1]
    table = getattr(getattr(thing, "table", None), "name", "")
    return f"{word} {table}.{thing.name}" if table else f"{word} {thing.name}"


def _is_compared(name: str | None, kind: str, _parents: Any) -> bool:
    return not (kind == "table" and name == "alembic_version")


def _is_another_type(
    _context: Any, _column: Any, _model_column: Any, live: TypeEngine[Any], model: TypeEngine[Any]
) -> bool | None:
    """SQLModel's text is VARCHAR without a length; ours is TEXT, which is equivalent. None: Alembic's own answer."""
    if isinstance(live, Text) and isinstance(model, AutoString):
        return False
    return None


def _upgrade(connection: Connection, directory: Path, phase: Phase | None) -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(directory))
    scripts = ScriptDirectory.from_config(config)
    applied: list[str] = []
    with EnvironmentContext(config, scripts) as environment:
        environment.configure(connection=connection, fn=lambda _rev, _context: [])
        current = environment.get_context().get_current_revision()
        connection.rollback()  # otherwise each revision would join the transaction of this read
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
    """The last revision to apply, and the names of all revisions on the way."""
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
