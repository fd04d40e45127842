"""Shared by the repositories of a batch: aggregates in memory with marks, and statements that write many rows."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from chassis.store.names import TableNames

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")


class Undoable(Generic[K, A]):
    """Aggregates by key, changed in memory; a message that fails is undone by rolling back to a mark."""

    def __init__(self) -> None:
        self.now: dict[K, A] = {}
        """All loaded aggregates, changed or not."""
        self._changed: dict[K, None] = {}
        self._log: list[tuple[K, A | None, bool]] = []

    def load(self, key: K, aggregate: A) -> None:
        """Adds aggregates read from the store. A key that is present keeps its aggregate, which may have changed."""
        self.now.setdefault(key, aggregate)

    def get(self, key: K) -> A | None:
        return self.now.get(key)

    def put(self, key: K, aggregate: A) -> None:
        """Adds a new or changed aggregate."""
        self._log.append((key, self.now.get(key), key in self._changed))
        self.now[key] = aggregate
        self._changed[key] = None

    def mark(self) -> int:
        return len(self._log)

    def rollback_to(self, mark: int) -> list[K]:
        """Undoes the changes since ``mark``. Returns the keys that are no longer present."""
        gone = []
        while len(self._log) > mark:
            key, before, was_changed = self._log.pop()
            if before is None:
                del self.now[key]
                gone.append(key)
            else:
                self.now[key] = before
            if not was_changed:
                self._changed.pop(key, None)
        return gone

    def changed(self) -> list[A]:
        """The aggregates that ``take_changed`` would give."""
        return [self.now[key] for key in self._changed]

    def take_changed(self) -> list[A]:
        """The aggregates to write, in the order of their first change. Earlier marks become void."""
        changed = [self.now[key] for key in self._changed]
        self._changed.clear()
        self._log.clear()
        return changed


def insert_many(table: TableNames, types: Mapping[str, str], *, arrays: Mapping[str, str] | None = None) -> str:
    """One statement that inserts many rows, from one list per column.

    ``types``: the SQL type of each column, in the order of the lists. ``arrays``: the element type of each array
    column. ``unnest`` takes no nested lists of different lengths, so array columns travel as JSON texts, as ``jsonb``
    columns do.
    """
    _check(table, types)
    lists = ", ".join(f"${number}::{_travels_as(kind)}[]" for number, kind in enumerate(types.values(), 1))
    values = ", ".join(_value(name, kind, arrays or {}) for name, kind in types.items())
    # S608: the names are the model's, the values are parameters.
    return (
        f"INSERT INTO {table} ({', '.join(types)}) "  # noqa: S608
        f"SELECT {values} FROM unnest({lists}) AS given ({', '.join(types)})"
    )


def upsert_many(
    table: TableNames,
    types: Mapping[str, str],
    *,
    key: str,
    kept: Collection[str] = (),
    extra: str = "",
    arrays: Mapping[str, str] | None = None,
) -> str:
    """As ``insert_many``; an existing row with the same ``key`` is updated.

    ``kept`` columns keep the values of the first insert. ``extra``: further assignments.
    """
    _check(table, [key, *kept])
    changed = [f"{name} = excluded.{name}" for name in types if name != key and name not in kept]
    assignments = ", ".join([*changed, extra] if extra else changed)
    return f"{insert_many(table, types, arrays=arrays)} ON CONFLICT ({key}) DO UPDATE SET {assignments}"


def lists_of(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The arguments of the statement: one list of values per column."""
    return list(zip(*rows, strict=True))


def _check(table: TableNames, names: Collection[str]) -> None:
    for name in names:
        getattr(table, name)  # raises UnknownNameError


def _travels_as(kind: str) -> str:
    return "text" if kind == "jsonb" else kind


def _value(name: str, kind: str, arrays: Mapping[str, str]) -> str:
    if name in arrays:
        return f"ARRAY(SELECT jsonb_array_elements_text(given.{name}::jsonb))::{arrays[name]}[]"
    return f"given.{name}::jsonb" if kind == "jsonb" else f"given.{name}"
