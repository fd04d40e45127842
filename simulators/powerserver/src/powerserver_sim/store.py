"""The SQLite store: one writer thread that commits in groups, reader threads beside it, the event loop never waits.

A write is a function of a `Work`; all writes that queue up while a commit is on its way to the disk share the next
one, each under its own savepoint, so that one refusal takes no other down. A future is resolved only after the
commit: whoever answers a partner after `await store.write(…)` answers from the disk.
"""

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

T = TypeVar("T")

_LARGEST_GROUP = 256
_READERS = 4


@dataclass(slots=True)
class Work:
    """One write inside a running transaction: its connection, the moment, and what to tell live pages after commit."""

    connection: sqlite3.Connection
    now: datetime
    notices: list[dict[str, Any]] = field(default_factory=list)

    def one(self, sql: str, *parameters: object) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self.connection.execute(sql, parameters).fetchone()
        return row

    def all(self, sql: str, *parameters: object) -> list[sqlite3.Row]:
        return self.connection.execute(sql, parameters).fetchall()

    def run(self, sql: str, *parameters: object) -> sqlite3.Cursor:
        return self.connection.execute(sql, parameters)

    def next_number(self, counter: str) -> int:
        """The counter's next value; numbers of rolled-back writes are given out again."""
        row = self.one("UPDATE counter SET value = value + 1 WHERE name = ? RETURNING value", counter)
        if row is None:
            raise KeyError(counter)
        return int(row["value"])

    def record(
        self, direction: Literal["in", "out", "effect"], kind: str, subject: str, detail: Mapping[str, object]
    ) -> None:
        """Append to the ledger."""
        self.run(
            "INSERT INTO ledger (at, direction, kind, subject, detail) VALUES (?, ?, ?, ?, ?)",
            microseconds(datetime.now(UTC)),
            direction,
            kind,
            subject,
            json.dumps(detail, ensure_ascii=False),
        )

    def notice(self, kind: str, **detail: object) -> None:
        """Tell live pages (and the HL7 sender) after the commit."""
        self.notices.append({"kind": kind, **detail})


def microseconds(moment: datetime) -> str:
    """UTC with microseconds, as the ledger writes it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _outcome(future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
    if future.done():  # the caller was cancelled; the write stands
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


_Job = tuple[Callable[[Work], Any], "asyncio.Future[Any] | None"]


class Store:
    """Open with `Store.open`, close with `close`; `listeners` are called on the loop with notices after each commit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self.listeners: list[Callable[[list[dict[str, Any]]], None]] = []
        self._writer_connection = self._connect()
        self._writer_connection.executescript(resources.files("powerserver_sim").joinpath("schema.sql").read_text())
        self._writer = threading.Thread(target=self._write_groups, name="store-writer", daemon=True)
        self._writer.start()

    @classmethod
    async def open(cls, path: Path) -> "Store":
        await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
        return cls(path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    async def write(self, change: Callable[[Work], T]) -> T:
        """Run one change in the writer thread; returns after its commit is on disk, raises what the change raised."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((change, future))
        return await future

    def post(self, change: Callable[[Work], Any]) -> None:
        """As `write`, without waiting: for marks whose loss a repeat makes good."""
        self._jobs.put((change, None))

    async def read(self, question: Callable[[Work], T]) -> T:
        """Run a question against the last commit in a reader thread."""
        return await self._loop.run_in_executor(self._readers, self._read, question)

    def _read(self, question: Callable[[Work], T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._reader_connections.append(connection)
        return question(Work(connection, datetime.now(UTC)))

    async def close(self) -> None:
        """Commit what is queued, then close."""
        self._jobs.put(None)
        await asyncio.to_thread(self._writer.join)
        self._readers.shutdown(wait=True)
        for connection in self._reader_connections:
            connection.close()
        self._writer_connection.close()

    def _write_groups(self) -> None:
        closing = False
        while not closing:
            group: list[_Job] = []
            job = self._jobs.get()
            while job is not None:
                group.append(job)
                if len(group) == _LARGEST_GROUP:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            closing = job is None
            if group:
                self._write_group(group)

    def _write_group(self, group: list[_Job]) -> None:
        connection = self._writer_connection
        notices: list[dict[str, Any]] = []
        outcomes: list[tuple[asyncio.Future[Any] | None, object, BaseException | None]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for change, future in group:
                work = Work(connection, datetime.now(UTC))
                connection.execute("SAVEPOINT change")
                try:
                    result, error = change(work), None
                except Exception as problem:  # noqa: BLE001 - handed to the caller that asked for the change
                    connection.execute("ROLLBACK TO change")
                    result, error = None, problem
                else:
                    notices += work.notices
                connection.execute("RELEASE change")
                outcomes.append((future, result, error))
            connection.execute("COMMIT")
        except sqlite3.Error as problem:  # the disk refused: nobody in the group was served
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            notices.clear()
            outcomes = [(future, None, problem) for _, future in group]
        self._loop.call_soon_threadsafe(self._settle, outcomes, notices)

    def _settle(
        self,
        outcomes: list[tuple["asyncio.Future[Any] | None", object, BaseException | None]],
        notices: list[dict[str, Any]],
    ) -> None:
        for future, result, error in outcomes:
            if future is not None:
                _outcome(future, result, error)
        if notices:
            for listener in self.listeners:
                listener(notices)
