"""The chassis' own tables, as SQL per version; a service's migration applies the version that it was written for."""

import re
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Final, Protocol

_CREATED_CONCURRENTLY: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\w+)")


class _Context(Protocol):
    """The part of Alembic's migration context that is needed here."""

    def autocommit_block(self) -> AbstractContextManager[None]: ...


class _Operations(Protocol):
    """The part of Alembic's ``op`` that is needed here."""

    def execute(self, sqltext: str) -> None: ...
    def get_context(self) -> _Context: ...


def sql(version: str) -> str:
    """The statements that bring a database from the version before to ``version`` (such as ``v001``)."""
    return files(__name__).joinpath(f"{version}.sql").read_text()


def whole() -> str:
    """The statements of all versions as one script, for a database that is new and that nobody else uses."""
    versions = sorted(path.name for path in files(__name__).iterdir() if path.name.endswith(".sql"))
    return "\n".join(sql(name.removesuffix(".sql")) for name in versions).replace(" CONCURRENTLY", "")


def upgrade(version: str, op: _Operations) -> None:
    """Called by a service's migration: ``schema.upgrade("v001", op)``.

    An index ``CONCURRENTLY`` is made outside of the migration's transaction, after what stands above it is committed.
    What an earlier, interrupted try left of it is dropped first; so what stands above such an index must be repeatable.
    """
    for statement in sql(version).split(";\n"):
        if " CONCURRENTLY " in statement:
            created = _CREATED_CONCURRENTLY.search(statement)
            with op.get_context().autocommit_block():
                if created is not None:
                    op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {created[1]}")
                op.execute(statement)
        elif statement.strip():
            op.execute(statement)
