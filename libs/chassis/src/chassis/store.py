"""A service's Postgres: an asyncpg pool for what is hot, SQLModel sessions for the rest."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

import asyncpg

from chassis.errors import StoreUnavailable

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlmodel.ext.asyncio.session import AsyncSession

CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 7
"""Of one statement. It alone tells of a server that went without a word; a sender of HL7 waits 30 s or more."""
STATEMENT_LIFETIME_SECONDS = 0
"""Of a prepared statement: as long as its connection. Else asyncpg sets a timer for each, which keeps the context of
whoever asked first, and with that a whole batch. Postgres plans anew by itself when statistics change.
"""

SESSION_SETTINGS: Final = {
    # An acknowledged message is on disk, and on the standby where one is synchronous, whatever the role is set to.
    "synchronous_commit": "on",
    "default_transaction_isolation": "read committed",
    "log_parameter_max_length_on_error": "0",
}
"""What every session of ours asks for at its start; that counts for more than what role, database or server say."""

UNAVAILABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InternalClientError,  # of a connection that the server has just ended, asked before it knows
)
"""What asyncpg raises when the server is away, going away, full or read-only: never the fault of a message."""

REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""What a server says to a wrong role, password or database."""

COLLISIONS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)
"""Two transactions met; the loser may try again."""


def no_answer(error: BaseException) -> StoreUnavailable:
    """What one of ``UNAVAILABLE`` means to who asked the store: not now, and nobody's fault."""
    return StoreUnavailable(f"the store does not answer: {type(error).__name__}")


def unavailable(url: str, error: BaseException) -> StoreUnavailable:
    """``error``, met while connecting, in words: which server and database, and why; never the password."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")  # several may stand there, for a primary and its standbys
    place = ",".join(host if ":" in host else f"{host}:5432" for host in hosts) + parts.path
    if isinstance(error, REFUSED):
        return StoreUnavailable(f"the store {place} refuses us: {error}")
    return StoreUnavailable(f"the store {place} does not answer: {type(error).__name__}")


def sqlalchemy_engine(url: str, **options: Any) -> "AsyncEngine":
    """An engine whose connections asyncpg opens from the URL itself.

    SQLAlchemy would hand the URL's ``sslmode`` and ``sslrootcert`` on as arguments that asyncpg does not take.
    """
    # Loaded on first use: SQLAlchemy takes most of a service's start, and no hot path needs it.
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415

    async def connect() -> "asyncpg.Connection":
        try:
            return await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=SESSION_SETTINGS)
        except (*UNAVAILABLE, *REFUSED) as error:
            raise unavailable(url, error) from error

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


class StoreSettings(Protocol):
    """What the store needs to know: a ``postgresql://`` URL and how many connections it may hold."""

    @property
    def url(self) -> str: ...
    @property
    def pool_size(self) -> int: ...


_Method = Callable[..., Awaitable[Any]]


def _or_given_up(method: _Method) -> _Method:
    @wraps(method)
    async def call(connection: "_Impatient", *arguments: Any, **options: Any) -> Any:
        try:
            return await method(connection, *arguments, **options)
        except TimeoutError:
            await connection.give_up()
            raise

    return call


class _Impatient(asyncpg.Connection):  # type: ignore[misc]
    """One of a pool, which is replaced when a statement had no answer in time, and all others of the pool with it.

    The rollback would wait as long again on a connection whose other end is gone, and so would the next one's first
    statement.
    """

    pool: "ClassVar[asyncpg.Pool | None]" = None

    execute = _or_given_up(asyncpg.Connection.execute)
    executemany = _or_given_up(asyncpg.Connection.executemany)
    fetch = _or_given_up(asyncpg.Connection.fetch)
    fetchrow = _or_given_up(asyncpg.Connection.fetchrow)
    fetchval = _or_given_up(asyncpg.Connection.fetchval)

    async def give_up(self) -> None:
        self.terminate()
        if self.pool is not None:
            await self.pool.expire_connections()


@dataclass
class Store:
    """Opened once per process, in the composition root."""

    pool: "asyncpg.Pool"
    url: str
    _engine: "AsyncEngine | None" = field(default=None, repr=False)

    @classmethod
    async def open(cls, settings: StoreSettings) -> "Store":
        """Raises ``StoreUnavailable`` when the server does not answer or refuses the login."""
        url = str(settings.url)
        kind: type[_Impatient] = type("_Pooled", (_Impatient,), {})
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=settings.pool_size,
                timeout=CONNECT_TIMEOUT_SECONDS,
                command_timeout=COMMAND_TIMEOUT_SECONDS,
                max_inactive_connection_lifetime=60,
                max_cached_statement_lifetime=STATEMENT_LIFETIME_SECONDS,
                reset=_as_it_is,
                connection_class=kind,
                server_settings={
                    **SESSION_SETTINGS,
                    "application_name": "suite",
                    "jit": "off",
                    "max_parallel_workers_per_gather": "0",  # one count may not take all processors
                },
            )
        except (*UNAVAILABLE, *REFUSED) as error:
            raise unavailable(url, error) from error
        kind.pool = pool
        return cls(pool, url)

    @asynccontextmanager
    async def session(self) -> "AsyncIterator[AsyncSession]":
        """A SQLModel session for pages and operators' queries. The caller commits."""
        from sqlalchemy.ext.asyncio import async_sessionmaker  # noqa: PLC0415 (as sqlalchemy_engine says)
        from sqlmodel.ext.asyncio.session import AsyncSession  # noqa: PLC0415

        if self._engine is None:
            self._engine = sqlalchemy_engine(self.url, pool_size=2, max_overflow=2)
        factory = async_sessionmaker(self._engine, class_=AsyncSession, expire_on_commit=False)
        async with factory() as session:
            yield session

    async def ping(self, timeout_seconds: float = 2) -> None:
        """Raises ``StoreUnavailable`` unless a query is answered in time."""
        try:
            async with asyncio.timeout(timeout_seconds), self.pool.acquire() as connection:
                await connection.fetchval("SELECT 1")
        except UNAVAILABLE as error:
            raise no_answer(error) from error

    async def now(self) -> datetime:
        """The store's own time."""
        at: datetime = await self.pool.fetchval("SELECT clock_timestamp()")
        return at

    async def close(self) -> None:
        if self._engine is not None:
            await self._engine.dispose()
        try:
            await asyncio.wait_for(self.pool.close(), 5)
        except TimeoutError:
            self.pool.terminate()


async def _as_it_is(_connection: "asyncpg.Connection") -> None:
    """What a connection that goes back to the pool needs: nothing.

    asyncpg rolls back what was left open before it asks; its own reset would be five statements more, in a round trip
    after every batch, against settings, cursors and locks of a session that nothing here makes on a pooled connection.
    """
