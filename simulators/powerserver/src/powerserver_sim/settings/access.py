"""An administrator's settings of users: groups, privileges, and who needs a second factor. Each is one write."""

import base64
import secrets
import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from powerserver_sim.accounts import PRIVILEGES
from powerserver_sim.rules import Refused
from simulator_kit.store import Work

_SECRET_BYTES: Final = 20


def users(work: Work) -> list[sqlite3.Row]:
    return work.all(
        "SELECT u.name, u.full_name, u.is_admin, u.facility, m.user_group, s.user IS NOT NULL AS has_second_factor "
        "FROM user u LEFT JOIN group_member m ON m.user = u.name LEFT JOIN second_factor s ON s.user = u.name "
        "ORDER BY u.name"
    )


def groups(work: Work) -> list[dict[str, Any]]:
    """Each user group with its privileges and the number of its members."""
    return [
        {
            "name": row["name"],
            "privileges": {
                held["privilege"]
                for held in work.all("SELECT privilege FROM group_privilege WHERE user_group = ?", row["name"])
            },
            "members": row["members"],
        }
        for row in work.all(
            "SELECT g.name, (SELECT count(*) FROM group_member m WHERE m.user_group = g.name) AS members "
            "FROM user_group g ORDER BY g.name"
        )
    ]


def set_privileges(work: Work, group: str, wanted: Iterable[str]) -> None:
    _require_group(work, group)
    work.run("DELETE FROM group_privilege WHERE user_group = ?", group)
    for privilege in sorted(set(wanted)):
        if privilege not in PRIVILEGES:
            raise Refused("unknown", "There is no such privilege.")
        work.run("INSERT INTO group_privilege VALUES (?, ?)", group, privilege)
    work.notice("users")


def set_user(work: Work, name: str, group: str, *, has_second_factor: bool) -> None:
    """A user's group, and whether the login asks for a code. A new second factor gets a secret of its own."""
    if work.one("SELECT 1 FROM user WHERE name = ?", name) is None:
        raise Refused("unknown", "There is no such user.")
    _require_group(work, group)
    work.run("INSERT OR REPLACE INTO group_member VALUES (?, ?)", name, group)
    if not has_second_factor:
        work.run("DELETE FROM second_factor WHERE user = ?", name)
    elif work.one("SELECT 1 FROM second_factor WHERE user = ?", name) is None:
        secret = base64.b32encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        work.run("INSERT INTO second_factor (user, secret) VALUES (?, ?)", name, secret)
    work.notice("users")


def _require_group(work: Work, group: str) -> None:
    if work.one("SELECT 1 FROM user_group WHERE name = ?", group) is None:
        raise Refused("unknown", "There is no such user group.", field="group")
