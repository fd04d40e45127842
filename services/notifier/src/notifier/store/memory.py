"""Rows in memory that can go back to a mark: what one failed message changed must not be written."""

from collections.abc import Iterator
from typing import Generic, TypeVar, cast

K = TypeVar("K")
V = TypeVar("V")
_ABSENT = object()


class Changes(Generic[K, V]):
    """A dict that remembers what was loaded, what changed since, and how to take a change back."""

    def __init__(self) -> None:
        self._rows: dict[K, V] = {}
        self._dirty: dict[K, int] = {}
        self._undo: list[tuple[K, object]] = []

    def load(self, key: K, value: V) -> None:
        self._rows[key] = value

    def get(self, key: K) -> V | None:
        return self._rows.get(key)

    def put(self, key: K, value: V) -> None:
        self._undo.append((key, self._rows.get(key, _ABSENT)))
        self._dirty[key] = self._dirty.get(key, 0) + 1
        self._rows[key] = value

    def values(self) -> Iterator[V]:
        return iter(self._rows.values())

    def changed(self) -> list[V]:
        return [self._rows[key] for key in self._dirty]

    def mark(self) -> int:
        return len(self._undo)

    def rollback_to(self, mark: int) -> None:
        while len(self._undo) > mark:
            key, before = self._undo.pop()
            self._dirty[key] -= 1
            if not self._dirty[key]:
                del self._dirty[key]
            if before is _ABSENT:
                del self._rows[key]
            else:
                self._rows[key] = cast("V", before)
