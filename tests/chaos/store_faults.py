"""An administrator's actions on Postgres while the suite works: cancels, locks, settings of roles, read-only."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import asyncpg

from chassis.store.store import ERRORS

CANCEL_EVERY_SECONDS: Final = 0.02
LOCK_SECONDS: Final = 1.0
LONGEST_WAIT_SECONDS: Final = 3
ROLE_SETTINGS: Final = {
    "statement timeout": "statement_timeout = '5ms'",
    "lock timeout": "lock_timeout = '1ms'",
    "serializable": "default_transaction_isolation = 'serializable'",
    "repeatable read": "default_transaction_isolation = 'repeatable read'",
    "read-only": "default_transaction_read_only = on",
}
_OTHERS: Final = "datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
_CANCEL: Final = f"SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE state = 'active' AND {_OTHERS}"
_END: Final = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {_OTHERS}"
_TABLES: Final = "SELECT quote_ident(tablename) AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"


class StoreFaults:
    """Each fault returns whether it hurt a session. ``name`` is a service's database, and its role."""

    def __init__(self, admin_url: str) -> None:
        self._admin_url = admin_url

    async def cancel_statements(self, name: str, seconds: float) -> bool:
        """Cancels running statements, again and again."""
        cancelled, until = 0, time.monotonic() + seconds
        async with self._admin(name) as admin:
            while time.monotonic() < until:
                cancelled += await admin.fetchval(_CANCEL, name)
                await asyncio.sleep(CANCEL_EVERY_SECONDS)
        return cancelled > 0

    async def lock_tables(self, name: str) -> bool:
        """Locks each table in turn, as a migration does; a table that cannot be locked is left out."""
        locked = 0
        async with self._admin(name) as admin:
            for row in await admin.fetch(_TABLES):
                with suppress(asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                    async with admin.transaction():
                        await admin.execute(f"SET LOCAL lock_timeout = '{LONGEST_WAIT_SECONDS}s'")
                        await admin.execute(f"LOCK TABLE {row['name']} IN ACCESS EXCLUSIVE MODE")
                        await asyncio.sleep(LOCK_SECONDS)
                        locked += 1
        return locked > 0

    async def set_role(self, name: str, setting: str, seconds: float) -> bool:
        """Changes a role and ends its sessions, so that the change holds for all; ``reset_role`` does the same."""
        words = ROLE_SETTINGS[setting]
        async with self._admin(name) as admin:
            await admin.execute(f"ALTER ROLE {name} SET {words}")
            ended = await admin.fetchval(_END, name)
        await asyncio.sleep(seconds)
        await self.reset_role(name)
        return bool(ended)

    async def reset_role(self, name: str) -> None:
        """Undoes the settings, however long Postgres takes to come back."""
        while True:
            with suppress(*ERRORS):
                async with self._admin(name) as admin:
                    await admin.execute(f"ALTER ROLE {name} RESET ALL")
                    await admin.fetchval(_END, name)
                return
            await asyncio.sleep(0.2)

    @asynccontextmanager
    async def _admin(self, database: str) -> AsyncIterator["asyncpg.Connection"]:
        url = self._admin_url.rpartition("/")[0] + f"/{database}"
        connection = await asyncpg.connect(url, timeout=5, command_timeout=10)
        try:
            yield connection
        finally:
            connection.terminate()
