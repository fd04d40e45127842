"""Postgres in memory for the chassis' statements: transactions, savepoints, row locks and notifications.

READ COMMITTED: a transaction sees committed rows and its own writes. A changed row is locked until the transaction
ends. A statement that meets a lock waits, or skips the row where it says so; a circle of waits ends in a deadlock
error. A statement happens at one moment, lock waits apart. ``test_fakes.py`` compares this fake with a real Postgres.
"""

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import asyncpg
from simulated_loop import OUTSIDE, Process, current

Row = dict[str, Any]
Statement = Callable[["Session", tuple[Any, ...]], Awaitable[list[Row]]]

# Lock modes that cannot be held together: FOR UPDATE (u), FOR NO KEY UPDATE (n), FOR KEY SHARE (k).
_CONFLICTS = {("u", "u"), ("u", "n"), ("u", "k"), ("n", "u"), ("n", "n"), ("k", "u")}
_IN_TABLES = (
    "outbox", "deliveries", "delivery_bugs", "inbox", "parked_keys", "parked_messages", "dead_letters", "timers",
    "things",
)  # fmt: skip


@functools.cache
def _one_line(sql: str) -> str:
    return " ".join(sql.split())


class Network(Protocol):
    """The network between a process and the server."""

    async def pass_through(self) -> None:
        """Waits for the travel time; raises when the connection is broken."""


class Immediate:
    """A network without delay or fault."""

    async def pass_through(self) -> None:
        return


class NotKnownError(BaseException):
    """The chassis ran a statement that the fake does not know: teach the fake this statement."""


class Database:
    """The server: tables, locks, listeners, and its own clock."""

    def __init__(self, clock: Callable[[], float], statements: Mapping[str, Statement], offset: float = 0) -> None:
        self._clock = clock
        self.offset = offset
        self.numbers = itertools.count(1)
        self.statements = statements
        self.tables: dict[str, dict[Any, Row]] = {name: {} for name in _IN_TABLES}
        self.sequences = {name: itertools.count(1) for name in _IN_TABLES}
        self.locks: dict[Any, dict[Session, str]] = {}
        self.advisory: dict[int, Session] = {}
        self.listeners: list[tuple[str, Session, Callable[..., object]]] = []
        self.sessions: dict[Session, None] = {}  # in order: a set's order does not depend on the seed
        self.is_away = False
        self.cancels: Callable[[], bool] = lambda: False
        """Whether the next statement is cancelled, asked before each."""

    def now(self) -> float:
        """``clock_timestamp()``: the server's clock, which differs from the processes' clocks."""
        return self._clock() + self.offset

    def time(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)


class Session:
    """A server process: one connection's transaction and locks."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.number = next(database.numbers)
        self.writes: dict[tuple[str, Any], Row | None] = {}
        self.locks: dict[Any, str] = {}
        self.notices: list[str] = []
        self.savepoints: list[tuple[dict[tuple[str, Any], Row | None], dict[Any, str], int]] = []
        self.depth = 0
        self.has_failed = False
        self.is_gone = False
        self.waiting_for: set[Session] = set()
        self._waiter: asyncio.Future[None] | None = None
        database.sessions[self] = None

    # ---- reading and writing

    def rows(self, table: str) -> list[Row]:
        committed = self.database.tables[table]
        if not self.writes:
            return list(committed.values())
        own = {key: row for (name, key), row in self.writes.items() if name == table}
        if not own:
            return list(committed.values())
        merged: dict[Any, Row | None] = {**committed, **own}
        return [row for row in merged.values() if row is not None]

    def row(self, table: str, key: Any) -> Row | None:
        if (table, key) in self.writes:
            return self.writes[table, key]
        return self.database.tables[table].get(key)

    def write(self, table: str, key: Any, row: Row | None) -> None:
        self.writes[table, key] = row

    async def change(self, table: str, key: Any, test: Callable[[Row], bool], **values: Any) -> Row | None:
        """UPDATE of one row: locks it, tests it again, changes it.

        None when the row does not (or no longer) match ``test``.
        """
        await self.lock((table, key), "n")
        row = self.row(table, key)
        if row is None or not test(row):
            return None
        changed = {**row, **values}
        self.write(table, key, changed)
        return changed

    async def insert(self, table: str, key: Any, row: Row, *unique: Any) -> bool:
        """INSERT … ON CONFLICT DO NOTHING over ``key`` and ``unique``; waits for writers of the same row."""
        claims = (("pk", table, key), *(("uq", table, value) for value in unique))
        while True:
            others = {other for one in claims for other in self.database.locks.get(one, ()) if other is not self}
            if not others:
                there = self._in_the_way(table, key, unique)
                if there is None:
                    break
                others = {one for one in self.database.sessions if one is not self and (table, there) in one.deleted()}
                if not others:
                    return False
            await self._wait(others)
        for one in claims:
            await self.lock(one, "u")
        self.write(table, key, {**row, "_unique": unique, "_key": key})
        return True

    def _in_the_way(self, table: str, key: Any, unique: tuple[Any, ...]) -> Any:
        """The key of the row that has the same key or unique value; None when there is none."""
        if self.row(table, key) is not None:
            return key
        if unique:
            for found in self.rows(table):
                if not set(unique).isdisjoint(found["_unique"]):
                    return found["_key"]
        return None

    def deleted(self) -> set[tuple[str, Any]]:
        return {what for what, row in self.writes.items() if row is None}

    async def delete(self, table: str, key: Any, test: Callable[[Row], bool] = lambda _: True) -> bool:
        await self.lock((table, key), "u")
        row = self.row(table, key)
        if row is None or not test(row):
            return False
        self.write(table, key, None)
        return True

    # ---- locks

    async def lock(self, what: Any, mode: str, *, skip: bool = False) -> bool:
        """Takes the lock or waits for it; False with ``skip`` when another session holds it."""
        database = self.database
        while True:
            holders = database.locks.setdefault(what, {})
            against = {one for one, held in holders.items() if one is not self and (mode, held) in _CONFLICTS}
            if not against:
                held = holders.get(self)
                if held is None or "knu".index(mode) > "knu".index(held):
                    holders[self] = self.locks[what] = mode
                return True
            if skip:
                return False
            await self._wait(against)

    async def _wait(self, others: "set[Session]") -> None:
        """Waits until one of ``others`` has released a lock."""
        self.waiting_for = others
        if self._is_in_a_circle():
            self.waiting_for = set()
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self.waiting_for = set()
            self._waiter = None
        if self.is_gone:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    def _is_in_a_circle(self) -> bool:
        seen: set[Session] = set()
        ahead = list(self.waiting_for)
        while ahead:
            one = ahead.pop()
            if one is self:
                return True
            if one not in seen:
                seen.add(one)
                ahead += one.waiting_for
        return False

    def _release(self, kept: Mapping[Any, str]) -> None:
        for what in [one for one in self.locks if one not in kept]:
            del self.locks[what]
            holders = self.database.locks[what]
            del holders[self]
            if not holders:
                del self.database.locks[what]
        for other in self.database.sessions:
            if self in other.waiting_for and other._waiter is not None and not other._waiter.done():
                other._waiter.set_result(None)

    # ---- transactions

    def begin(self) -> None:
        if self.depth:
            self.savepoints.append((dict(self.writes), dict(self.locks), len(self.notices)))
        self.depth += 1

    def commit(self) -> None:
        self.depth -= 1
        if self.depth:
            self.savepoints.pop()
            return
        if self.has_failed:
            self._end()
            return
        for (table, key), row in self.writes.items():
            if row is None:
                self.database.tables[table].pop(key, None)
            else:
                self.database.tables[table][key] = row
        notices = list(dict.fromkeys(self.notices))
        self._end()
        for channel in notices:
            for wanted, session, heard in list(self.database.listeners):
                if wanted == channel and not session.is_gone:
                    asyncio.get_running_loop().call_soon(heard)

    def rollback(self) -> None:
        self.has_failed = False
        self.depth -= 1
        if self.depth:
            self.writes, locks, notices = self.savepoints.pop()
            del self.notices[notices:]
            self._release(locks)
        else:
            self._end()

    def _end(self) -> None:
        self.depth, self.has_failed = 0, False
        self.writes, self.savepoints, self.notices = {}, [], []
        self._release({})

    def terminate(self) -> None:
        """Ends the backend: its transaction is rolled back and all its locks are released."""
        if self.is_gone:
            return
        self.is_gone = True
        self.database.sessions.pop(self, None)
        for number in [one for one, holder in self.database.advisory.items() if holder is self]:
            del self.database.advisory[number]
        self.database.listeners = [one for one in self.database.listeners if one[1] is not self]
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        self._end()

    async def run(self, sql: str, values: tuple[Any, ...]) -> list[Row]:
        """Runs one statement, in the open transaction or in its own."""
        statement = self.database.statements.get(_one_line(sql))
        if statement is None:
            raise NotKnownError(sql)
        is_cancelled = self.database.cancels()
        if is_cancelled and not self.depth:
            raise asyncpg.QueryCanceledError("canceling statement due to user request")
        if self.depth:
            if self.has_failed:
                raise asyncpg.InFailedSQLTransactionError("current transaction is aborted")
            if is_cancelled:
                self.has_failed = True
                raise asyncpg.QueryCanceledError("canceling statement due to user request")
            try:
                return await statement(self, values)
            except asyncpg.PostgresError:
                self.has_failed = True
                raise
        self.begin()
        try:
            rows = await statement(self, values)
        except BaseException:
            if not self.is_gone:
                self.rollback()
            raise
        self.commit()
        return rows


class Connection:
    """The part of asyncpg's Connection that the chassis uses."""

    def __init__(self, database: Database, network: Network) -> None:
        self._network = network
        self._process: Process = current.get()
        self.session = Session(database)
        if self._process is not OUTSIDE:  # the loop never dies, and would keep every connection of every run
            self._process.at_death.append(self._cut)

    def _cut(self) -> None:
        """The process died. The world decides how long its server process takes to notice."""
        self.terminate()

    def is_closed(self) -> bool:
        return self.session.is_gone

    def terminate(self) -> None:
        self.session.terminate()
        if self._cut in self._process.at_death:
            self._process.at_death.remove(self._cut)

    async def exchange(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """Sends a request and returns the answer.

        A request lost on the way has no effect; a lost answer has had its effect.
        """
        self._check()
        try:
            await self._network.pass_through()
        except ConnectionError:
            self.session.terminate()
        self._check()
        answer = await work()
        try:
            await self._network.pass_through()
        except ConnectionError:
            self.session.terminate()
        self._check()
        return answer

    def _check(self) -> None:
        if self._process.is_dead:
            raise asyncio.CancelledError  # a dead process does nothing, not even error handling
        if self.session.is_gone:
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        return await self.exchange(lambda: self.session.run(sql, values))

    async def fetchrow(self, sql: str, *values: Any) -> Row | None:
        rows = await self.fetch(sql, *values)
        return rows[0] if rows else None

    async def fetchval(self, sql: str, *values: Any) -> Any:
        row = await self.fetchrow(sql, *values)
        return None if row is None else next(iter(row.values()))

    async def execute(self, sql: str, *values: Any) -> str:
        return f"OK {len(await self.fetch(sql, *values))}"

    async def executemany(self, sql: str, many: Iterable[Sequence[Any]]) -> None:
        async def all_of_them() -> None:
            async with _Autocommit(self.session):
                for values in many:
                    await self.session.run(sql, tuple(values))

        await self.exchange(all_of_them)

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        async def listen() -> None:
            self.session.database.listeners.append((channel, self.session, callback))

        await self.exchange(listen)

    async def remove_listener(self, channel: str, callback: Callable[..., object]) -> None:
        async def unlisten() -> None:
            self.session.database.listeners.remove((channel, self.session, callback))

        await self.exchange(unlisten)

    def transaction(self) -> "Transaction":
        return Transaction(self)


class _Autocommit:
    """executemany is one transaction when none is open."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._opened = False

    async def __aenter__(self) -> None:
        if not self._session.depth:
            self._session.begin()
            self._opened = True

    async def __aexit__(self, kind: object, *_: object) -> None:
        if self._opened and not self._session.is_gone:
            if kind is None:
                self._session.commit()
            else:
                self._session.rollback()


class Transaction:
    """``async with connection.transaction()``: a transaction, or a savepoint inside one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        await self._connection.exchange(_now(self._connection.session.begin))

    async def __aexit__(self, kind: object, *_: object) -> None:
        session = self._connection.session
        await self._connection.exchange(_now(session.commit if kind is None else session.rollback))


def _now(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def done() -> None:
        work()

    return done


class Pool:
    """Makes connections on demand; a connection that returns broken or inside a transaction is not used again."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        self._idle: list[Connection] = []

    def acquire(self) -> "_Acquired":
        return _Acquired(self)

    async def take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return await self._connect()

    def give_back(self, connection: Connection) -> None:
        if connection.session.depth:
            connection.terminate()
        if not connection.is_closed():
            self._idle.append(connection)

    async def fetch(self, sql: str, *values: Any) -> list[Row]:
        async with self.acquire() as connection:
            return await connection.fetch(sql, *values)

    async def fetchrow(self, sql: str, *values: Any, timeout: float | None = None) -> Row | None:  # noqa: ASYNC109 (asyncpg's)
        async with self.acquire() as connection:
            return await connection.fetchrow(sql, *values)

    async def fetchval(self, sql: str, *values: Any) -> Any:
        async with self.acquire() as connection:
            return await connection.fetchval(sql, *values)

    async def execute(self, sql: str, *values: Any) -> str:
        async with self.acquire() as connection:
            return await connection.execute(sql, *values)


class _Acquired:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._connection: Connection | None = None

    async def __aenter__(self) -> Connection:
        self._connection = await self._pool.take()
        return self._connection

    async def __aexit__(self, *_: object) -> None:
        assert self._connection is not None
        self._pool.give_back(self._connection)
