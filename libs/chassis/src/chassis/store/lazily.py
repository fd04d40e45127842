"""Loads SQLAlchemy and the models only when a person first asks for something.

They take 21 MiB and a third of a second of a processor; the service's own work needs neither. ``Store.session`` loads
every module named here, in a thread, so that messages go on meanwhile.
"""

from importlib import import_module
from typing import Any, Final

_NAMED: Final[set[str]] = {"sqlmodel.ext.asyncio.session", "sqlalchemy.dialects.postgresql.asyncpg"}


class _Later:
    """Stands for a module until one of its attributes is read."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self._module), name)


def lazily(*modules: str) -> list[Any]:
    """Stand-ins for ``modules``. Annotate with the real modules under ``TYPE_CHECKING``."""
    _NAMED.update(modules)
    return [_Later(module) for module in modules]


def load_all() -> None:
    """Imports every module that was named."""
    for module in sorted(_NAMED):
        import_module(module)
