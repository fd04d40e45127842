"""The SQLite store: one writer thread that commits in groups; the event loop never waits for the disk.

A write is a function of a `Work`. All writes that queue up while a commit is on its way share the next one, each under
its own savepoint. A future is resolved after the commit, so whoever answers after `await store.write(…)` answers from
the disk.
"""

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")
_LARGEST_GROUP = 256


def stamp(moment: datetime) -> str:
    """UTC with microseconds: as text it sorts by time."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(slots=True)
class Work:
    """One change (or question) inside a transaction, and what to tell the listeners after the commit."""

    connection: sqlite3.Connection
    notices: list[dict[str, Any]] = field(default_factory=list)

    def one(self, sql: str, *values: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, *values: object) -> list[sqlite3.Row]:
        return self.connection.execute(sql, values).fetchall()

    def run(self, sql: str, *values: object) -> None:
        self.connection.execute(sql, values)

    def next_number(self, counter: str) -> int:
        sql = "INSERT INTO counter VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
        row = self.one(sql, counter)
        return int(row["value"]) if row else 0

    def record(
        self, direction: Literal["in", "out", "effect"], kind: str, subject: str, detail: Mapping[str, object]
    ) -> None:
        """Appends to the ledger, in this change's own transaction."""
        at, words = stamp(datetime.now(UTC)), json.dumps(detail, ensure_ascii=False)
        self.run("INSERT INTO ledger (at, direction, kind, subject, detail) VALUES (?, ?, ?, ?, ?)",
                 at, direction, kind, subject, words)  # fmt: skip

    def notice(self, **detail: object) -> None:
        self.notices.append(detail)


_Job = tuple[Callable[[Work], Any], "asyncio.Future[Any]"]


class Store:
    """Open it on a running loop. ``listeners`` are called on the loop after each commit."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._path = path
        self._readers = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self.listeners: list[Callable[[list[dict[str, Any]]], None]] = []
        self._writing = self._connect()
        schema = resources.files("omegaai_sim").joinpath("schema.sql").read_text()
        self._writing.executescript(f"BEGIN; {schema} COMMIT;")
        self._writer = threading.Thread(target=self._write_groups, name="store-writer", daemon=True)
        self._writer.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        self._opened.append(connection)
        return connection

    async def write(self, change: Callable[[Work], T]) -> T:
        """Runs ``change`` and returns after its commit; raises what it raised, and then nothing of it is kept."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((change, future))
        return await future

    async def read(self, question: Callable[[Work], T]) -> T:
        """Asks the last commit, in another thread."""
        return await asyncio.to_thread(self._read, question)

    def _read(self, question: Callable[[Work], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if connection is None:
            connection = self._readers.connection = self._connect()
        return question(Work(connection))

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
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
        notices: list[dict[str, Any]] = []
        answers: list[tuple[asyncio.Future[Any], object, BaseException | None]] = []
        connection = self._writing
        try:
            connection.execute("BEGIN IMMEDIATE")
            for change, future in group:
                work = Work(connection)
                connection.execute("SAVEPOINT change")
                try:
                    answers.append((future, change(work), None))
                    notices += work.notices
                except Exception as error:  # noqa: BLE001 (handed to the caller)
                    connection.execute("ROLLBACK TO change")
                    answers.append((future, None, error))
                connection.execute("RELEASE change")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            notices, answers = [], [(future, None, error) for _, future in group]
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, answers, notices)

    def _settle(
        self, answers: list[tuple["asyncio.Future[Any]", object, BaseException | None]], notices: list[dict[str, Any]]
    ) -> None:
        for future, answer, error in answers:
            if future.done():
                continue
            if error is None:
                future.set_result(answer)
            else:
                future.set_exception(error)
        for listener in self.listeners if notices else ():
            listener(notices)
