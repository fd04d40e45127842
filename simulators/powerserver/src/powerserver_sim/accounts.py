"""Users, their groups and rights, and password checks."""

import hashlib
import hmac
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Final

from powerserver_sim.rules import Refused
from simulator_kit.store import Notice, Store, Work

SCHEDULE_STUDIES: Final = "Schedule Studies"
"""The privilege to book, to move, and to answer what a patient asks for."""
PRIVILEGES: Final = (SCHEDULE_STUDIES,)

_GROUPS: Final = {"ADMINISTRATORS": PRIVILEGES, "FRONT DESK": PRIVILEGES, "TECHNOLOGISTS": ()}
_USERS: Final = (
    ("frontdesk", "Front Desk", 0, "FAC01", "FRONT DESK"),
    ("admin", "System Administrator", 1, None, "ADMINISTRATORS"),
    ("technologist", "Terry Technologist", 0, "FAC01", "TECHNOLOGISTS"),
    ("lakedesk", "Lakeshore Front Desk", 0, "FAC02", "FRONT DESK"),
    ("supervisor", "Sam Supervisor", 1, None, "ADMINISTRATORS"),
)
_SECOND_FACTORS: Final = {
    "lakedesk": "LAKEDESKDEVELOPMENTSECRET2SIMUL2",
    "supervisor": "SUPERVISORDEVELOPMENTSECRET2SIM2",
}
"""The users whose login needs a second factor, with the secret of their authenticator (RFC 6238, Base32)."""


@dataclass(frozen=True, slots=True)
class User:
    """A user. `facility` is None when the user may see all facilities."""

    name: str
    full_name: str
    is_admin: bool
    facility: str | None
    group: str = ""
    privileges: frozenset[str] = frozenset()
    has_second_factor: bool = False

    def sees(self, facility: str) -> bool:
        return self.facility is None or self.facility == facility

    @property
    def may_schedule(self) -> bool:
        return SCHEDULE_STUDIES in self.privileges

    def require(self, facility: str) -> None:
        if not self.sees(facility):
            raise Refused("facility", f"{self.name} is restricted to facility {self.facility}.", field="facility")

    def require_scheduling(self) -> None:
        if not self.may_schedule:
            raise Refused("privilege", f"{self.name} lacks the privilege {SCHEDULE_STUDIES}.")


def hash_password(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)


def user_from(work: Work, row: sqlite3.Row) -> User:
    member = work.one("SELECT user_group FROM group_member WHERE user = ?", row["name"])
    group = "" if member is None else str(member["user_group"])
    privileges = work.all("SELECT privilege FROM group_privilege WHERE user_group = ?", group)
    return User(
        row["name"], row["full_name"], bool(row["is_admin"]), row["facility"], group,
        frozenset(privilege["privilege"] for privilege in privileges),
        work.one("SELECT 1 FROM second_factor WHERE user = ?", row["name"]) is not None,
    )  # fmt: skip


class Accounts:
    """Checks passwords. A correct one is remembered as a keyed digest, since HTTP Basic sends it with every request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, User] = {}
        self._changes = 0
        store.listeners.append(self._forget)

    def _forget(self, notices: list[Notice]) -> None:
        """Changed rights count from the next request on."""
        if any(notice["kind"] == "users" for notice in notices):
            self._right.clear()
            self._changes += 1

    async def login(self, name: str, password: str) -> User | None:
        digest = hmac.digest(self._key, f"{name}\0{password}".encode(), "sha256")
        if (known := self._right.get(digest)) is not None:
            return known

        changes = self._changes

        def check(work: Work) -> User | None:
            row = work.one("SELECT * FROM user WHERE name = ?", name)
            salt = row["salt"] if row is not None else b"nobody"
            given = hash_password(password, salt)
            if row is None or not hmac.compare_digest(given, row["password_hash"]):
                return None
            return user_from(work, row)

        user = await self._store.read(check)
        if user is not None and changes == self._changes:
            self._right[digest] = user
        return user

    async def named(self, name: str) -> User | None:
        def find(work: Work) -> User | None:
            row = work.one("SELECT * FROM user WHERE name = ?", name)
            return None if row is None else user_from(work, row)

        return await self._store.read(find)


def prepare(work: Work) -> None:
    """The development users and groups.

    Users are written at every start, so that old stores get a changed hash. Groups, rights and second factors are
    written once: an administrator changes them.
    """
    for name, full_name, is_admin, facility, group in _USERS:
        salt = hashlib.sha256(name.encode()).digest()[:16]
        secret = hash_password("development", salt)
        is_new = work.one("SELECT 1 FROM group_member WHERE user = ?", name) is None
        work.run(
            "INSERT OR REPLACE INTO user VALUES (?, ?, ?, ?, ?, ?)", name, full_name, salt, secret, is_admin, facility
        )
        if is_new:
            _prepare_group(work, group)
            work.run("INSERT INTO group_member VALUES (?, ?)", name, group)
            if name in _SECOND_FACTORS:
                work.run("INSERT INTO second_factor (user, secret) VALUES (?, ?)", name, _SECOND_FACTORS[name])


def _prepare_group(work: Work, group: str) -> None:
    if work.run("INSERT OR IGNORE INTO user_group VALUES (?)", group).rowcount:
        for privilege in _GROUPS[group]:
            work.run("INSERT INTO group_privilege VALUES (?, ?)", group, privilege)
