"""The chassis' own tables as SQL, by version. A service's migration applies a fixed version."""

import re
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import Final, Protocol

_CREATED_CONCURRENTLY: Final = re.compile(r"CREATE (?:UNIQUE )?INDEX CONCURRENTLY (\w+)")


class _Context(Protocol):
    """The part of Alembic's migration context that this module uses."""

    def autocommit_block(self) -> AbstractContextManager[None]: ...


class _Operations(Protocol):
    """The part of Alembic's ``op`` that this module uses."""

    def execute(self, sqltext: str) -> None: ...
    def get_context(self) -> _Context: ...


def sql(version: str) -> str:
    """The statements that bring a database from the previous version to ``version`` (such as ``v001``)."""
    return files(__name__).joinpath(f"{version}.sql").read_text()


def whole() -> str:
    """The statements of all versions as one script, for a new database that nothing else uses."""
    versions = sorted(path.name for path in files(__name__).iterdir() if path.name.endswith(".sql"))
    return "\n".join(sql(name.removesuffix(".sql")) for name in versions).replace(" CONCURRENTLY", "")


def upgrade(version: str, op: _Operations) -> None:
    """Called by a service's migration: ``schema.upgrade("v001", op)``.

    An index ``CONCURRENTLY`` is made outside of the migration's transaction, after the statements above it are
    committed. The rest of an interrupted try is dropped first, so the statements above such an index must be
    repeatable.
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
