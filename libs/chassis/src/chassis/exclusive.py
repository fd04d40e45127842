"""Work that one process of a service does at a time, by an advisory lock; the others stand by.

The work uses the connection that holds the lock, or asks it before each step: who lost the connection has lost the
right. A holder that dies without a word is found out by its keep-alives, and a standby takes over within five seconds.
"""

from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, runtime_checkable

import asyncpg
import structlog

from chassis.backoff import server_pause_seconds
from chassis.loops import LoopBase
from chassis.metrics import GaugeName, Metrics
from chassis.store import (
    COMMAND_TIMEOUT_SECONDS,
    CONNECT_TIMEOUT_SECONDS,
    SESSION_SETTINGS,
    STATEMENT_LIFETIME_SECONDS,
    UNAVAILABLE,
    Store,
)

STANDBY_SECONDS = 1.0

Role = Literal["active", "standby"]
OnConnection = Callable[["asyncpg.Connection"], Awaitable[None]]

log = structlog.get_logger(__name__)


@runtime_checkable
class OneOfMany(Protocol):
    """A loop whose work one process does at a time; readiness tells which."""

    @property
    def role(self) -> Role: ...


class Exclusive:
    """The right to one kind of work on one store. ``lock`` is the work's number, the same in every process."""

    def __init__(self, store: Store, *, lock: int, name: str, metrics: Metrics, gauge: GaugeName) -> None:
        self._store = store
        self._lock = lock
        self._name = name
        self._metrics = metrics
        self._gauge: GaugeName = gauge
        self.is_active = False
        self.failures = 0
        """In a row; the work counts its own here, and sets it back when something went well."""

    @property
    def role(self) -> Role:
        return "active" if self.is_active else "standby"

    def begin(self) -> None:
        """Says that the work goes on here."""
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
        """Until ``loop`` is stopped: takes the lock or waits for it, and works.

        Comes back by itself after Postgres, or what ``interruptions`` tell of, was away.
        """
        while not loop.stopping:
            try:
                await self._hold(loop, work, while_standing_by)
            except (*UNAVAILABLE, *interruptions) as error:
                self.failures += 1
                log.warning("exclusive.interrupted", work=self._name, reason=type(error).__name__)
            finally:
                self._become(is_active=False)
            if not loop.stopping:
                await loop.pause(server_pause_seconds(self.failures))

    async def _hold(self, loop: LoopBase, work: OnConnection, while_standing_by: OnConnection | None) -> None:
        connection = await asyncpg.connect(
            self._store.url,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            max_cached_statement_lifetime=STATEMENT_LIFETIME_SECONDS,
            server_settings={
                **SESSION_SETTINGS,
                "application_name": f"suite-{self._name}",
                # A holder that is gone without a word loses the lock within seconds.
                "tcp_keepalives_idle": "1",
                "tcp_keepalives_interval": "1",
                "tcp_keepalives_count": "3",
            },
        )
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", self._lock):
                if while_standing_by is not None:
                    await while_standing_by(connection)
                await loop.pause(STANDBY_SECONDS)
                if loop.stopping:
                    return
            await work(connection)
        finally:
            connection.terminate()  # a graceful close waits for a server that may be gone

    def _become(self, *, is_active: bool) -> None:
        self.is_active = is_active
        self._metrics.set(self._gauge, float(is_active))
