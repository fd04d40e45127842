"""The SQLite store: one writer thread that commits in groups, and reader threads.

A write is a function of a `Work`. Writes that wait while a commit runs share the next commit. Each write has its own
savepoint, so a refused write takes no other down. `Store.write` returns after the commit is on disk.
"""

import asyncio
import json
import queue
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

T = TypeVar("T")
Notice = Mapping[str, Any]
"""A change, as live pages receive it after the commit; `kind` names the type of record."""

_LARGEST_GROUP: Final = 256
_READERS: Final = 4
_TABLES: Final = Path(__file__).with_name("tables.sql")


def stamp(moment: datetime) -> str:
    """UTC with microseconds; as text it sorts by time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True)
class Work:
    """One write (or query) inside a transaction, and the notices that are sent after its commit."""

    connection: sqlite3.Connection
    now: datetime
    hooks: "Mapping[str, list[Callable[[Work, Any], None]]]"
    notices: list[Notice] = field(default_factory=list)

    def one(self, sql: str, *values: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self.connection.execute(sql, values).fetchall()

    def run(self, sql: str, *values: object) -> sqlite3.Cursor:
        return self.connection.execute(sql, values)

    def next_number(self, counter: str) -> int:
        """The counter's next value, from 1. A number of a rolled-back write is used again."""
        row = self.one(
            "INSERT INTO counter VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            counter,
        )
        assert row is not None  # noqa: S101 - INSERT … RETURNING gives its row
        return int(row["value"])

    def add_column(self, table: str, column: str, definition: str) -> None:
        """Give a table of an older store a column that it lacks: a feature's `prepare` calls this at every start."""
        if self.one("SELECT 1 FROM pragma_table_xinfo(?) WHERE name = ?", table, column) is None:
            self.run(f"ALTER TABLE {table} ADD COLUMN {column} {definition}")

    def record(
        self, direction: Literal["in", "out", "effect"], kind: str, subject: str, detail: Mapping[str, object]
    ) -> None:
        """Append to the ledger."""
        self.run(
            "INSERT INTO ledger (at, direction, kind, subject, detail) VALUES (?, ?, ?, ?, ?)",
            stamp(datetime.now(UTC)), direction, kind, subject, json.dumps(detail, ensure_ascii=False),
        )  # fmt: skip

    def notice(self, kind: str, **detail: object) -> None:
        """Tell the store's listeners after the commit."""
        self.notices.append({"kind": kind, **detail})

    def changed(self, kind: str, change: object) -> None:
        """Call the hooks of other features, inside this transaction and in the order of the list of features."""
        for hook in self.hooks.get(kind, ()):
            hook(self, change)


_Job = tuple[Callable[[Work], Any], "asyncio.Future[Any] | None"]
_Outcome = tuple["asyncio.Future[Any] | None", object, BaseException | None]


class Store:
    """Open with `Store.open`, end with `close`. `listeners` get the notices of each commit, on the event loop."""

    def __init__(self, path: Path, tables: Iterable[str]) -> None:
        self._path = path
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._hooks: defaultdict[str, list[Callable[[Work, Any], None]]] = defaultdict(list)
        self.listeners: list[Callable[[list[Notice]], None]] = []
        self._writing = self._connect()
        for script in (_TABLES.read_text(encoding="utf-8"), *tables):
            self._writing.executescript(script)
        self._writer = threading.Thread(target=self._write_groups, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path, tables: Iterable[str] = ()) -> "Store":
        """Open or make the file. `tables` are SQL scripts that change nothing where their tables exist."""
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        return cls(path, tables)

    def hook(self, kind: str, function: Callable[[Work, Any], None]) -> None:
        """Call `function` for each `Work.changed` of this kind."""
        self._hooks[kind].append(function)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        self._opened.append(connection)
        return connection

    async def write(self, change: Callable[[Work], T]) -> T:
        """Run one change and return after its commit.

        An error of the change is raised, and nothing of the change is kept.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((change, future))
        return await future

    def post(self, change: Callable[[Work], Any]) -> None:
        """As `write`, without waiting: for marks whose loss a repeat repairs."""
        self._jobs.put((change, None))

    async def read(self, question: Callable[[Work], T]) -> T:
        """Query the last commit, in a reader thread."""
        return await self._loop.run_in_executor(self._readers, self._read, question)

    def _read(self, question: Callable[[Work], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
        return question(self._work(connection))

    def _work(self, connection: sqlite3.Connection) -> Work:
        return Work(connection, datetime.now(UTC), self._hooks)

    async def close(self) -> None:
        """Commit what is queued, then close."""
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True)
        for connection in self._opened:
            connection.close()

    def _write_groups(self) -> None:
        while True:
            group = [self._jobs.get()]
            with suppress(queue.Empty):
                while len(group) < _LARGEST_GROUP and group[-1] is not None:
                    group.append(self._jobs.get_nowait())
            jobs = [job for job in group if job is not None]
            if jobs:
                self._write_group(jobs)
            if len(jobs) < len(group):
                return

    def _write_group(self, group: list[_Job]) -> None:
        connection = self._writing
        notices: list[Notice] = []
        outcomes: list[_Outcome] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for change, future in group:
                work = self._work(connection)
                connection.execute("SAVEPOINT change")
                try:
                    outcomes.append((future, change(work), None))
                    notices += work.notices
                except Exception as problem:  # noqa: BLE001 - handed to the caller of the write
                    connection.execute("ROLLBACK TO change")
                    outcomes.append((future, None, problem))
                connection.execute("RELEASE change")
            connection.execute("COMMIT")
        except sqlite3.Error as problem:  # the disk is full or read-only: no write of the group is kept
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            notices, outcomes = [], [(future, None, problem) for _, future in group]
        with suppress(RuntimeError):  # the loop is closed: no caller waits
            self._loop.call_soon_threadsafe(self._settle, outcomes, notices)

    def _settle(self, outcomes: list[_Outcome], notices: list[Notice]) -> None:
        for future, answer, problem in outcomes:
            if future is None or future.done():  # a cancelled caller; its write is kept
                continue
            if problem is None:
                future.set_result(answer)
            else:
                future.set_exception(problem)
        for listener in self.listeners if notices else ():
            listener(notices)
