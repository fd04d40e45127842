"""Sessions in the service's own store: a cookie holds a random word, the store its hash.

So a log-out ends a session in every process at once, and the store or a backup of it lets nobody in. While the store is
away, a process still shows pages to people whose sessions it has seen lately.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from chassis.errors import StoreUnavailable
from chassis.settings import SessionSettings
from chassis.store import Store, Transaction, asking
from chassis.web import statements
from chassis.web.access import Person, Role

TOKEN_BYTES: Final = 32
WITHOUT_STORE_SECONDS: Final = 900.0
MOST_REMEMBERED: Final = 1000
_SEEN_AGAIN_SHARE: Final = 0.1
"""Share of the idle time: a page within it writes nothing."""


@dataclass
class Sessions:
    """``log_out``: the address to post to for ending the session. ``now``: seconds of a clock that never goes back."""

    store: Store
    settings: SessionSettings
    log_out: str
    now: Callable[[], float] = time.monotonic
    _remembered: "OrderedDict[bytes, tuple[Person, float]]" = field(default_factory=OrderedDict, init=False)

    async def begin(self, person: Person, *, instead_of: str | None) -> str:
        """A new session's word for the cookie; the session ``instead_of`` ends. StoreUnavailable."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        with asking():
            async with self.store.pool.acquire() as connection, connection.transaction():
                transaction = Transaction(connection)
                transaction.audit(actor=person.actor, action="person.log-in", subject=person.role)
                await connection.execute(statements.CLEAN, _hash(instead_of or ""), self._idle_seconds)
                lasts_seconds = self.settings.longest_hours * 3600
                await connection.execute(
                    statements.BEGIN, _hash(token), person.subject, person.name, person.role, lasts_seconds
                )
                await transaction.flush()
        if instead_of:
            self._remembered.pop(_hash(instead_of), None)
        return token

    async def person(self, token: str, *, is_use: bool, is_act: bool) -> Person | None:
        """The person logged in by ``token``. ``is_use``: the request prolongs the session. StoreUnavailable."""
        key = _hash(token)
        try:
            with asking():
                row = await self.store.pool.fetchrow(
                    statements.FIND, key, self._idle_seconds, self._idle_seconds * _SEEN_AGAIN_SHARE
                )
                if row is not None and row["is_long_ago"] and is_use:
                    await self.store.pool.execute(statements.SEEN, key)
        except StoreUnavailable:
            known = self._remembered.get(key)
            if is_act or known is None or self.now() - known[1] > min(WITHOUT_STORE_SECONDS, self._idle_seconds):
                raise
            return known[0]
        self._remembered.pop(key, None)
        if row is None:
            return None
        person = Person(row["name"], Role(row["role"]), row["subject"], self.log_out)
        self._remembered[key] = person, self.now()
        if len(self._remembered) > MOST_REMEMBERED:
            self._remembered.popitem(last=False)
        return person

    async def end(self, token: str) -> None:
        """Ends the session. StoreUnavailable: then it ends for this process only, and in others when it expires."""
        key = _hash(token)
        self._remembered.pop(key, None)
        with asking():
            async with self.store.pool.acquire() as connection, connection.transaction():
                row = await connection.fetchrow(statements.END, key)
                if row is not None:
                    person = Person(row["name"], Role(row["role"]), row["subject"])
                    transaction = Transaction(connection)
                    transaction.audit(actor=person.actor, action="person.log-out", subject=person.role)
                    await transaction.flush()

    @property
    def _idle_seconds(self) -> float:
        return self.settings.idle_minutes * 60


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
