"""SQLAlchemy and the models, loaded with the first question of a person.

They take 21 MiB and a third of a second of a processor, and what a service does by itself needs neither.
``Store.session`` loads all that was named here, in a thread, so that messages go on meanwhile.
"""

from importlib import import_module
from typing import Any, Final

_NAMED: Final[set[str]] = {"sqlmodel.ext.asyncio.session", "sqlalchemy.dialects.postgresql.asyncpg"}


class _Later:
    """Stands for a module until an attribute of it is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)


def lazily(*modules: str) -> list[Any]:
    """Stand-ins for ``modules``. Annotate with the modules themselves under ``TYPE_CHECKING``."""
    _NAMED.update(modules)
    return [_Later(module) for module in modules]


def load_all() -> None:
    """Imports every module that was named."""
    for module in sorted(_NAMED):
        import_module(module)
