"""Users, their rights, and password checks."""

import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass

from powerserver_sim.rules import Refused
from simulator_kit.store import Store, Work


@dataclass(frozen=True, slots=True)
class User:
    """A user. `facility` is None when the user may see all facilities."""

    name: str
    full_name: str
    is_admin: bool
    facility: str | None

    def sees(self, facility: str) -> bool:
        return self.facility is None or self.facility == facility

    def require(self, facility: str) -> None:
        if not self.sees(facility):
            raise Refused("facility", f"{self.name} is restricted to facility {self.facility}.", field="facility")


def hash_password(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


def user_from(row: sqlite3.Row) -> User:
    return User(row["name"], row["full_name"], bool(row["is_admin"]), row["facility"])


class Accounts:
    """Checks passwords. A correct one is remembered as a keyed digest, since HTTP Basic sends it with every request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, User] = {}

    async def login(self, name: str, password: str) -> User | None:
        digest = hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")
        if (known := self._right.get(digest)) is not None:
            return known

        def check(work: Work) -> User | None:
            row = work.one("SELECT * FROM user WHERE name = ?", name)
            salt = row["salt"] if row is not None else b"nobody"
            given = hash_password(password, salt)
            if row is None or not hmac.compare_digest(given, row["password_hash"]):
                return None
            return user_from(row)

        user = await self._store.read(check)
        if user is not None:
            self._right[digest] = user
        return user

    async def named(self, name: str) -> User | None:
        def find(work: Work) -> User | None:
            row = work.one("SELECT * FROM user WHERE name = ?", name)
            return None if row is None else user_from(row)

        return await self._store.read(find)


def prepare(work: Work) -> None:
    """The development users. They are written at every start, so that old stores get a changed hash."""
    for name, full_name, is_admin, facility in (
        ("frontdesk", "Front Desk", 0, "FAC01"),
        ("admin", "System Administrator", 1, None),
    ):
        salt = hashlib.sha256(name.encode()).digest()[:16]
        secret = hash_password("development", salt)
        work.run(
            "INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?, ?, ?)", name, full_name, salt, secret, is_admin, facility
        )
