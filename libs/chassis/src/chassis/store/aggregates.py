"""What repositories of a batch share: aggregates in memory that can go back to a mark, and writing them set-wise."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from chassis.store.names import TableNames

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")


class Undoable(Generic[K, A]):
    """Aggregates by key: loaded, changed in memory, and taken back to a mark where a message failed."""

    def __init__(self) -> None:
        self.now: dict[K, A] = {}
        """As they stand, changed or not."""
        self._changed: dict[K, None] = {}
        self._log: list[tuple[K, A | None, bool]] = []

    def load(self, key: K, aggregate: A) -> None:
        """As the store has it. What is there already stays: it may have been changed since."""
        self.now.setdefault(key, aggregate)

    def get(self, key: K) -> A | None:
        return self.now.get(key)

    def put(self, key: K, aggregate: A) -> None:
        """A new or changed aggregate."""
        self._log.append((key, self.now.get(key), key in self._changed))
        self.now[key] = aggregate
        self._changed[key] = None

    def mark(self) -> int:
        return len(self._log)

    def rollback_to(self, mark: int) -> list[K]:
        """Undoes what was put since ``mark``. Returns the keys that are no longer there."""
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

    def take_changed(self) -> list[A]:
        """What is to be written, in the order of the first change. Earlier marks are void."""
        changed = [self.now[key] for key in self._changed]
        self._changed.clear()
        self._log.clear()
        return changed


def insert_many(table: TableNames, types: Mapping[str, str], *, arrays: Mapping[str, str] | None = None) -> str:
    """One statement that writes many rows, from a list per column. ``types``: SQL's, by column, in the lists' order.

    ``arrays``: of columns that are arrays, the element's type. Lists of different lengths cannot go through ``unnest``,
    so each travels as the text of a JSON list. So does a ``jsonb`` column.
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
    """As ``insert_many``; a row whose ``key`` is there is changed. ``kept`` columns stay as the first insert has them.

    ``extra``: further assignments.
    """
    _check(table, [key, *kept])
    changed = [f"{name} = excluded.{name}" for name in types if name != key and name not in kept]
    assignments = ", ".join([*changed, extra] if extra else changed)
    return f"{insert_many(table, types, arrays=arrays)} ON CONFLICT ({key}) DO UPDATE SET {assignments}"


def lists_of(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The arguments of such a statement: of rows, a list per column."""
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
