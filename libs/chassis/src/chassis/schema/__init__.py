"""The chassis' own tables, as SQL per version; a service's migration applies the version that it was written for."""

from importlib.resources import files
from typing import Final, Protocol

VERSIONS: Final = ("v001", "v002")


class _Operations(Protocol):
    """The part of Alembic's ``op`` that is needed here."""

    def execute(self, sqltext: str) -> None: ...


def sql(version: str) -> str:
    """The statements that bring a database from the version before to ``version`` (such as ``v001``)."""
    return files(__name__).joinpath(f"{version}.sql").read_text()


def all_sql() -> str:
    """The statements that bring an empty database to the newest version."""
    return "\n".join(sql(version) for version in VERSIONS)


def upgrade(version: str, op: _Operations) -> None:
    """Called by a service's migration: ``schema.upgrade("v001", op)``."""
    for statement in sql(version).split(";\n"):
        if statement.strip():
            op.execute(statement)
