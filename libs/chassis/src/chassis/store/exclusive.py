"""Work that one process of a service does at a time, under an advisory lock; the other processes stand by.

The work uses the connection that holds the lock, or checks the connection before each step: a lost connection is a lost
lock. When a holder dies, its TCP keep-alives fail and a standby takes over within five seconds.

A holder that is frozen (SIGSTOP, a paused virtual machine) keeps its connection and so the lock. A living holder sends
a query on that connection every second, so Postgres shows for how long a session has been silent. After
``STANDSTILL_SECONDS`` a standby ends the silent session and takes the lock. A long statement is not silence. The former
holder has no connection any more, so it can mark nothing (ADR 0015).
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import wraps
from typing import Any, Literal, Protocol, runtime_checkable

import asyncpg
import structlog

from chassis.backoff import server_pause_seconds
from chassis.loops import LoopBase
from chassis.observe import Gauge, Metrics
from chassis.store.store import (
    COMMAND_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    SESSION_SETTINGS,
    STATEMENT_LIFETIME_SECONDS,
    Store,
    is_passing,
)

STANDBY_SECONDS = 1.0
ENDING_SECONDS = 0.1
HEARTBEAT_SECONDS = 1.0
STANDSTILL_SECONDS = 5.0
"""With two looks of a standby, one second apart, a takeover takes at most ten seconds."""

# pg_locks shows the key of a bigint lock in two halves. A session that waits for its client to read is silent too.
# Sessions of another role cannot be seen: the replicas of a service log in as one role.
_STANDING_STILL = """
SELECT pid, greatest(state_change, query_start) AS since
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = $1
    AND (state LIKE 'idle%' OR wait_event = 'ClientWrite')
    AND greatest(state_change, query_start) < clock_timestamp() - $2 * interval '1 second'
"""

_OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"

Role = Literal["active", "standby"]
OnConnection = Callable[["asyncpg.Connection"], Awaitable[None]]

log = structlog.get_logger(__name__)


@runtime_checkable
class OneOfMany(Protocol):
    """A loop whose work one process does at a time; readiness reports the role of this process."""

    @property
    def role(self) -> Role: ...


_Method = Callable[..., Awaitable[Any]]


def _in_turn(method: _Method) -> _Method:
    @wraps(method)
    async def call(connection: "_Held", *arguments: Any, **options: Any) -> Any:
        async with connection.turn:
            return await method(connection, *arguments, **options)

    return call


class _Held(asyncpg.Connection):  # type: ignore[misc]
    """The connection that the work and its heartbeat share, one statement at a time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.turn = asyncio.Lock()

    execute = _in_turn(asyncpg.Connection.execute)
    executemany = _in_turn(asyncpg.Connection.executemany)
    fetch = _in_turn(asyncpg.Connection.fetch)
    fetchrow = _in_turn(asyncpg.Connection.fetchrow)
    fetchval = _in_turn(asyncpg.Connection.fetchval)


class Exclusive:
    """The right to one kind of work on one store. ``lock`` is the number of the work, the same in every process."""

    def __init__(self, store: Store, *, lock: int, name: str, metrics: Metrics, gauge: Gauge) -> None:
        self._store = store
        self._lock = lock
        self._name = name
        self._metrics = metrics
        self._gauge = gauge
        self._seen: tuple[int, datetime] | None = None
        """The session that the last look found silent, and since when."""
        self.is_active = False
        self.failures = 0
        """Failures in a row. The work counts its own failures here, and resets the count after a success."""

    @property
    def role(self) -> Role:
        return "active" if self.is_active else "standby"

    def begin(self) -> None:
        """Marks this process as the active one."""
        self._become(is_active=True)
        log.info("exclusive.active", work=self._name)

    async def run(
        self,
        loop: LoopBase,
        work: OnConnection,
        *,
        while_standing_by: OnConnection | None = None,
        interruptions: tuple[type[Exception], ...] = (),
    ) -> None:
        """Takes the lock or waits for it, and runs ``work``, until ``loop`` is stopped.

        Returns to it after Postgres was away, or after one of ``interruptions``.
        """
        while not loop.stopping:
            try:
                await self._hold(loop, work, while_standing_by)
            except Exception as error:
                if not (is_passing(error) or isinstance(error, interruptions)):
                    raise
                self.failures += 1
                log.warning("exclusive.interrupted", work=self._name, reason=type(error).__name__)
            finally:
                self._become(is_active=False)
            if not loop.stopping:
                await loop.pause(server_pause_seconds(self.failures))

    @staticmethod
    @asynccontextmanager
    async def held(store: Store, *, lock: int, name: str) -> "AsyncIterator[asyncpg.Connection | None]":
        """For a command that must not meet a running service: the lock, or None where the service runs.

        A standby counts as running: it takes inputs, and would become active as soon as the command ends.
        """
        connection = await _connected(store, "command")
        try:
            is_ours = await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock)
            others = await connection.fetchval(_OTHERS, f"suite-{name}")
            yield connection if is_ours and not others else None
        finally:
            connection.terminate()

    async def _hold(self, loop: LoopBase, work: OnConnection, while_standing_by: OnConnection | None) -> None:
        connection = await _connected(self._store, self._name)
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._lock):
                has_ended = await self._end_if_standing_still(connection)
                if while_standing_by is not None:
                    await while_standing_by(connection)
                await loop.pause(ENDING_SECONDS if has_ended else STANDBY_SECONDS)
                if loop.stopping:
                    return
            heartbeat = asyncio.create_task(_beat(connection))
            try:
                await work(connection)
            finally:
                connection.terminate()
                heartbeat.cancel()
                await asyncio.wait({heartbeat})
        finally:
            connection.terminate()  # a graceful close would wait for a server that may be gone

    async def _end_if_standing_still(self, connection: "asyncpg.Connection") -> bool:
        """Ends the session of a frozen holder. Returns True when it did.

        It takes two looks: after a stall of the server itself, the holder sends a query before the second look.
        """
        row = await connection.fetchrow(_STANDING_STILL, self._lock, STANDSTILL_SECONDS)
        before, self._seen = self._seen, None if row is None else (row["pid"], row["since"])
        if row is None or self._seen != before:
            return False
        log.warning("exclusive.holder-stands-still", work=self._name)
        await connection.fetchval("SELECT pg_terminate_backend($1)", row["pid"])
        return True

    def _become(self, *, is_active: bool) -> None:
        self.is_active = is_active
        self._metrics.set(self._gauge, float(is_active))


async def _connected(store: Store, name: str) -> "asyncpg.Connection":
    return await asyncpg.connect(
        store.url,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=COMMAND_TIMEOUT_SECONDS,
        max_cached_statement_lifetime=STATEMENT_LIFETIME_SECONDS,
        connection_class=_Held,
        server_settings={
            **SESSION_SETTINGS,
            "application_name": f"suite-{name}",
            # A holder whose machine vanishes loses the lock within seconds.
            "tcp_keepalives_idle": "1",
            "tcp_keepalives_interval": "1",
            "tcp_keepalives_count": "3",
        },
    )


async def _beat(connection: "asyncpg.Connection") -> None:
    """Shows the server that this process lives, until the connection is gone."""
    while not connection.is_closed():
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            await connection.fetchval("SELECT 1")
        except TimeoutError:
            connection.terminate()  # the work need not wait for its own timeout
        except Exception as error:
            if not is_passing(error):
                raise
