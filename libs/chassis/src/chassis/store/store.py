"""A service's Postgres: an asyncpg pool for the service's own work, SQLModel sessions for people's requests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Protocol
from urllib.parse import urlsplit

import asyncpg

from chassis.errors import StoreUnavailable
from chassis.store.lazily import load_all

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlmodel.ext.asyncio.session import AsyncSession

CONNECT_TIMEOUT_SECONDS = 5
COMMAND_TIMEOUT_SECONDS = 7
"""Timeout of one statement. It alone detects a server that vanished; a sender of HL7 waits 30 s or more."""
STATEMENT_LIFETIME_SECONDS = 0
"""Lifetime of a prepared statement: that of its connection. With a finite lifetime asyncpg starts a timer for each,
which keeps the context of the first caller alive, and with it a whole batch. Postgres plans anew by itself when
statistics change."""

LOCK_TIMEOUT_SECONDS = 5
"""How long a statement waits for a lock. Shorter than the statement's timeout, which would close every connection of
the pool."""
LONGEST_STATEMENT_SECONDS = 90
"""When the server ends a statement that nobody waits for any more, such as a killed process's."""
IDLE_IN_TRANSACTION_SECONDS = 6
"""When the server ends a transaction of a frozen process, which would hold its locks."""

SESSION_SETTINGS: Final[Mapping[str, str]] = {
    # A session's settings override those of the role, the database and the server. default_transaction_read_only is not
    # set here, so that a database that was made read-only stays read-only.
    "synchronous_commit": "on",  # a committed message is on disk, and on the synchronous standby if there is one
    "log_parameter_max_length_on_error": "0",
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "statement_timeout": f"{LONGEST_STATEMENT_SECONDS}s",
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_SECONDS}s",
    # ms; covers a process that is frozen and does not read
    "tcp_user_timeout": f"{IDLE_IN_TRANSACTION_SECONDS * 1000}",
}
"""Session settings that order, durability and the timeouts depend on, the same on every connection."""

_OF_A_SERVICE: Final[Mapping[str, str]] = {
    "application_name": "suite",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",  # one count must not occupy all processors
}
MOST_SESSIONS: Final = 4
"""SQLModel sessions at once, each with a connection beside the pool's. Further sessions wait."""

REFUSED = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
"""Errors of a server that rejects the role, password or database."""

ERRORS = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    StoreUnavailable,
)
"""Every exception that a query may raise. ``meaning_of`` classifies them."""

Meaning = Literal["not now", "again", "taken", "fault"]
"""not now: the store is away, full, read-only, being changed or told to stop. again: this transaction lost against
another one; the same may succeed at once. taken: a unique value exists already, perhaps from an earlier transaction.
fault: the statement or its data is wrong; the same fails for ever."""

# By the class of a SQLSTATE, its first two characters.
_NOT_NOW_CLASSES = frozenset(
    {
        "08",  # connection
        "0B", "25", "2D", "3B",  # state of the transaction; a session or transaction that took too long
        "26", "34",  # a statement or cursor that the session no longer has
        "28", "3D", "3F",  # login rights, the database, the schema
        "53",  # full disk or memory, too many connections
        "55",  # an object in use; a lock that is not granted in time
        "57",  # an operator, a timeout, a shutdown, a start
        "58", "F0", "XX",  # the server's system, files and internals
        "72",  # a snapshot that is too old
    }
)  # fmt: skip
_COLLISION_CLASS = "40"
_UNKNOWN_COMPLETION = "40003"
_SCHEMA_CLASS = "42"
_SYNTAX_ERROR = "42601"
_UNIQUE_VIOLATION = "23505"


def collision(reason: str) -> Exception:
    """An error that means "again", as Postgres raises it: for a collision that the caller has found itself."""
    error: Exception = asyncpg.SerializationError(reason)
    return error


def meaning_of(error: BaseException) -> Meaning:
    """The meaning of an error of the store for the caller; ``fault`` for every other error."""
    error = _origin_of(error)
    state = getattr(error, "sqlstate", None)
    if isinstance(error, StoreUnavailable | OSError | asyncpg.InternalClientError):
        return "not now"
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg's error for a value that it cannot encode is an InterfaceError and also a ValueError.
        is_about_data = isinstance(error, ValueError) and not isinstance(error, asyncpg.ClientConfigurationError)
        return "fault" if is_about_data else "not now"
    if not isinstance(error, asyncpg.PostgresError) or not isinstance(state, str):
        return "fault"
    if state == _UNIQUE_VIOLATION:
        return "taken"
    if state[:2] == _COLLISION_CLASS:
        return "not now" if state == _UNKNOWN_COMPLETION else "again"
    return "not now" if state[:2] in _NOT_NOW_CLASSES or is_of_the_schema(error) else "fault"


def is_of_the_schema(error: BaseException) -> bool:
    """Whether the store's tables or rights do not fit the statement.

    Every statement of a service is a constant. So an unknown table, column or type means a migration that is missing or
    under way, and a missing right is the role's: no message can be the cause.
    """
    error = _origin_of(error)
    state = getattr(error, "sqlstate", None) or ""
    is_of_it = state[:2] == _SCHEMA_CLASS and state != _SYNTAX_ERROR
    return is_of_it or isinstance(error, asyncpg.InvalidCachedStatementError)


def _origin_of(error: BaseException) -> BaseException:
    """The asyncpg error inside an error of SQLAlchemy."""
    wrapped = getattr(error, "orig", None)
    if isinstance(wrapped, BaseException):
        return wrapped.__cause__ or wrapped
    return error


def is_passing(error: BaseException) -> bool:
    """Whether a caller that is in no hurry may ask again later."""
    return meaning_of(error) in {"not now", "again"}


def no_answer(error: BaseException) -> StoreUnavailable:
    """Describes a passing error for the caller: not now, and nobody's fault."""
    if isinstance(error, StoreUnavailable):
        return error
    origin = _origin_of(error)
    name, state = type(origin).__name__, getattr(origin, "sqlstate", None) or ""
    if isinstance(origin, REFUSED):
        return StoreUnavailable(f"the store refuses us: {name}: check the role's rights and its login")
    if state == "25006":
        return StoreUnavailable(f"the store takes no writes: {name}")
    if is_of_the_schema(origin):
        return StoreUnavailable(f"the store's tables are not this version's: {name}: has the migration run?")
    if isinstance(origin, asyncpg.PostgresError) and state[:2] != "08":
        return StoreUnavailable(f"the store cannot do it now: {name}")
    return StoreUnavailable(f"the store does not answer: {name}")


@contextmanager
def asking() -> Iterator[None]:
    """Turns every passing error of the store into ``StoreUnavailable``; other errors pass unchanged."""
    try:
        yield
    except StoreUnavailable:
        raise
    except Exception as error:
        if is_passing(error):
            raise no_answer(error) from error
        raise


def unavailable(url: str, error: BaseException) -> StoreUnavailable:
    """Describes ``error``, met while connecting: server, database and reason, never the password."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2].split(",")  # the URL may name several, a primary and its standbys
    place = ",".join(host if ":" in host else f"{host}:5432" for host in hosts) + parts.path
    origin = _origin_of(error)
    if isinstance(origin, REFUSED):
        return StoreUnavailable(f"the store {place} refuses us: {origin}")
    return StoreUnavailable(f"the store {place} does not answer: {type(origin).__name__}")


def sqlalchemy_engine(
    url: str,
    *,
    settings: Mapping[str, str] = SESSION_SETTINGS,
    statement_seconds: float | None = None,
    **options: Any,
) -> "AsyncEngine":
    """An engine whose connections asyncpg opens from the URL itself, with the session's ``settings``.

    SQLAlchemy would pass the URL's ``sslmode`` and ``sslrootcert`` as arguments that asyncpg rejects. A statement
    without an answer within ``statement_seconds`` raises ``TimeoutError``.
    """
    from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415 (see chassis.store.lazily)

    async def connect() -> "asyncpg.Connection":
        try:
            return await asyncpg.connect(
                url, timeout=CONNECT_TIMEOUT_SECONDS, command_timeout=statement_seconds, server_settings=settings
            )
        except Exception as error:
            if not is_passing(error):
                raise
            raise unavailable(url, error) from error

    return create_async_engine("postgresql+asyncpg://", async_creator=connect, **options)


class StoreSettings(Protocol):
    """Settings of the store: a ``postgresql://`` URL and the size of the pool."""

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
    """A pool's connection. When one of its statements times out, every connection of the pool is replaced.

    On a connection whose other end is gone, the rollback would wait for a further timeout, and so would the next user's
    first statement.
    """

    pool: "ClassVar[asyncpg.Pool | None]" = None

    execute = _or_given_up(asyncpg.Connection.execute)
    executemany = _or_given_up(asyncpg.Connection.executemany)
    fetch = _or_given_up(asyncpg.Connection.fetch)
    fetchrow = _or_given_up(asyncpg.Connection.fetchrow)
    fetchval = _or_given_up(asyncpg.Connection.fetchval)

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109  # asyncpg's signature
        """Closes the connection, and cuts it off when the server does not answer.

        asyncpg closes a replaced connection in a task that it forgets: an error there would be logged as never
        retrieved.
        """
        with suppress(OSError):
            await super().close(timeout=timeout)

    async def give_up(self) -> None:
        self.terminate()
        if self.pool is not None:
            await self.pool.expire_connections()


@dataclass
class Store:
    """The store, opened once per process in the composition root."""

    pool: "asyncpg.Pool"
    url: str
    _engine: "AsyncEngine | None" = field(default=None, repr=False)

    @classmethod
    async def open(cls, settings: StoreSettings) -> "Store":
        """Opens the pool. Raises ``StoreUnavailable`` when the server does not answer or refuses the login."""
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
                server_settings={**SESSION_SETTINGS, **_OF_A_SERVICE},
            )
        except Exception as error:
            if not is_passing(error):
                raise
            raise unavailable(url, error) from error
        kind.pool = pool
        return cls(pool, url)

    @asynccontextmanager
    async def session(self, *, statement_seconds: float = COMMAND_TIMEOUT_SECONDS) -> "AsyncIterator[AsyncSession]":
        """A SQLModel session for a person's request. The caller commits.

        It raises asyncpg's errors, as the pool does, and ``StoreUnavailable`` where all sessions are taken. With
        ``statement_seconds`` of its own, the session gets a connection of its own.
        """
        if self.pool.is_closing():
            raise StoreUnavailable("the store is closed")
        if self._engine is None:
            await asyncio.to_thread(load_all)
        from sqlalchemy.exc import DBAPIError  # noqa: PLC0415 (see chassis.store.lazily)
        from sqlalchemy.exc import TimeoutError as AllTakenError  # noqa: PLC0415
        from sqlalchemy.pool import NullPool  # noqa: PLC0415
        from sqlmodel.ext.asyncio.session import AsyncSession  # noqa: PLC0415

        engine, own = self._engine, None
        if statement_seconds != COMMAND_TIMEOUT_SECONDS:
            engine = own = self._new_engine(statement_seconds, poolclass=NullPool)
        elif engine is None:
            engine = self._engine = self._new_engine(
                statement_seconds,
                pool_size=1,
                max_overflow=MOST_SESSIONS - 1,
                pool_timeout=CONNECT_TIMEOUT_SECONDS,
                pool_pre_ping=True,  # a restart of the server is no error
            )
        try:
            async with AsyncSession(engine, expire_on_commit=False) as session:
                yield session
        except AllTakenError as error:
            raise StoreUnavailable("too many ask the store at once") from error
        except DBAPIError as error:
            origin = _origin_of(error)
            if origin is error:
                raise
            raise origin from error
        finally:
            if own is not None:
                await own.dispose()

    def _new_engine(self, statement_seconds: float, **options: Any) -> "AsyncEngine":
        settings = {**SESSION_SETTINGS, **_OF_A_SERVICE}
        return sqlalchemy_engine(self.url, settings=settings, statement_seconds=statement_seconds, **options)

    async def ping(self, timeout_seconds: float = 2) -> None:
        """Raises ``StoreUnavailable`` unless a query is answered in time."""
        with asking():
            async with asyncio.timeout(timeout_seconds), self.pool.acquire() as connection:
                await connection.fetchval("SELECT 1")

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
    """The reset of a connection that returns to the pool: none.

    asyncpg rolls back an open transaction before the reset. Its default reset would cost a round trip after every
    batch; the settings, cursors and session locks that it clears are never made on a pooled connection.
    """
