"""The sink's own store: nothing is acknowledged before its ledger row is on disk.

SQLite blocks while it syncs, so one thread owns the writing connection; whatever waits while a commit runs goes into
the next one together. That is what lets the sink take hundreds of mails a second and still sync each before its 250.
"""

import asyncio
import json
import queue
import sqlite3
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, sender TEXT NOT NULL, recipients TEXT NOT NULL,
    message_id TEXT NOT NULL, subject TEXT NOT NULL, template TEXT NOT NULL,
    appointment TEXT NOT NULL, raw BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS recipients (
    address TEXT NOT NULL, mail_id INTEGER NOT NULL REFERENCES mails (id), PRIMARY KEY (address, mail_id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, direction TEXT NOT NULL, kind TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE TRIGGER IF NOT EXISTS ledger_keeps_rows BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER IF NOT EXISTS ledger_keeps_content BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
"""
_LARGEST_COMMIT = 500


@dataclass(frozen=True)
class IncomingMail:
    """A mail as SMTP brought it. ``recipients`` are the envelope's, not the header's."""

    sender: str
    recipients: tuple[str, ...]
    message_id: str
    subject: str
    template: str
    appointment: str
    raw: bytes


@dataclass(frozen=True)
class Refusal:
    """A try that was turned away on purpose; it stands in the ledger and nowhere else."""

    message_id: str
    status: str
    detail: Mapping[str, str]


@dataclass(frozen=True)
class _Order:
    what: IncomingMail | Refusal
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[int]"


class SinkStore:
    """Mails and ledger in one SQLite file. Writing is awaited; reading opens its own connection in a thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "mailsink.sqlite3"
        self._orders: queue.SimpleQueue[_Order | None] = queue.SimpleQueue()
        connection = self._connect()
        connection.executescript(_SCHEMA)
        connection.close()
        self._writer = threading.Thread(target=self._write_until_closed, name="mailsink-store", daemon=True)
        self._writer.start()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA busy_timeout = 5000")
        return connection

    async def keep(self, what: IncomingMail | Refusal) -> int:
        """Returns the mail's id (a refusal's ledger number) once it is on disk; raises sqlite3.Error when it is not."""
        loop = asyncio.get_running_loop()
        order = _Order(what, loop, loop.create_future())
        self._orders.put(order)
        return await order.done

    def close(self) -> None:
        self._orders.put(None)
        self._writer.join()

    def _write_until_closed(self) -> None:
        connection = self._connect()
        try:
            while True:
                batch, closing = self._next_batch()
                if batch:
                    self._commit(connection, batch)
                if closing:
                    return
        finally:
            connection.close()

    def _next_batch(self) -> tuple[list[_Order], bool]:
        order = self._orders.get()
        batch: list[_Order] = []
        while order is not None:
            batch.append(order)
            if len(batch) == _LARGEST_COMMIT:
                return batch, False
            try:
                order = self._orders.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    @staticmethod
    def _commit(connection: sqlite3.Connection, batch: Iterable[_Order]) -> None:
        batch = list(batch)
        try:
            connection.execute("BEGIN IMMEDIATE")
            numbers = [_insert(connection, order.what) for order in batch]
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for order in batch:
                order.loop.call_soon_threadsafe(_fail, order.done, error)
            return
        for order, number in zip(batch, numbers, strict=True):
            order.loop.call_soon_threadsafe(_succeed, order.done, number)

    async def rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        def read() -> list[dict[str, Any]]:
            connection = self._connect()
            try:
                return [dict(row) for row in connection.execute(statement, arguments)]
            finally:
                connection.close()

        return await asyncio.to_thread(read)

    async def mails(self, *, to: str | None = None, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """Mails with an id above ``after``, oldest first, with their raw bytes."""
        if to is None:
            return await self.rows("SELECT * FROM mails WHERE id > ? ORDER BY id LIMIT ?", after, limit)
        return await self.rows(
            "SELECT m.* FROM mails m JOIN recipients r ON r.mail_id = m.id"
            " WHERE r.address = ? AND m.id > ? ORDER BY m.id LIMIT ?",
            to.lower(),
            after,
            limit,
        )

    async def newest(
        self, *, to: str | None = None, after: int = 0, before: int | None = None, limit: int = 100
    ) -> list[dict[str, Any]]:
        """What the inbox lists: newest first, without the bodies."""
        address = to.lower() if to else None
        return await self.rows(
            "SELECT id, at, sender, recipients, message_id, subject, template, appointment FROM mails"
            " WHERE id > ? AND id < ? AND (? IS NULL OR id IN (SELECT mail_id FROM recipients WHERE address = ?))"
            " ORDER BY id DESC LIMIT ?",
            after,
            before if before is not None else 2**62,
            address,
            address,
            limit,
        )

    async def mail(self, number: int) -> dict[str, Any] | None:
        found = await self.rows("SELECT * FROM mails WHERE id = ?", number)
        return found[0] if found else None

    async def count(self) -> int:
        return int((await self.rows("SELECT count(*) AS n FROM mails"))[0]["n"])

    async def ledger(self, *, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        found = await self.rows("SELECT * FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?", after, limit)
        return [row | {"detail": json.loads(row["detail"])} for row in found]

    async def newest_ledger_row(self) -> int:
        """The seq of the newest row, 0 while there is none."""
        (found,) = await self.rows("SELECT coalesce(max(seq), 0) AS newest FROM ledger")
        return int(found["newest"])


def _insert(connection: sqlite3.Connection, what: IncomingMail | Refusal) -> int:
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    if isinstance(what, Refusal):
        return _note(connection, at, ("in", "mail.refused"), what.message_id, {"status": what.status, **what.detail})
    cursor = connection.execute(
        "INSERT INTO mails (at, sender, recipients, message_id, subject, template, appointment, raw)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            at,
            what.sender,
            json.dumps(what.recipients),
            what.message_id,
            what.subject,
            what.template,
            what.appointment,
            what.raw,
        ),
    )
    number = int(cursor.lastrowid or 0)
    connection.executemany(
        "INSERT OR IGNORE INTO recipients (address, mail_id) VALUES (?, ?)",
        [(address.lower(), number) for address in what.recipients],
    )
    detail = {
        "to": list(what.recipients),
        "mail_subject": what.subject,
        "template": what.template,
        "appointment": what.appointment,
        "mail": number,
    }
    _note(connection, at, ("effect", "mail.received"), what.message_id, detail)
    return number


def _note(
    connection: sqlite3.Connection, at: str, what: tuple[str, str], subject: str, detail: Mapping[str, object]
) -> int:
    cursor = connection.execute(
        "INSERT INTO ledger (at, direction, kind, subject, detail) VALUES (?, ?, ?, ?, ?)",
        (at, *what, subject, json.dumps(detail)),
    )
    return int(cursor.lastrowid or 0)


def _succeed(done: "asyncio.Future[int]", number: int) -> None:
    if not done.done():
        done.set_result(number)


def _fail(done: "asyncio.Future[int]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
