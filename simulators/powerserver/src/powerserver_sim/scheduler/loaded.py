"""The resources that a user's scheduler shows. A new resource is there after Refresh Data, or after a login."""

import sqlite3

from powerserver_sim.accounts import User
from powerserver_sim.settings import assignments
from simulator_kit.store import Work


def load(work: Work, user_name: str) -> None:
    """Refresh Data: the user's scheduler has all resources from now on."""
    work.run(
        "INSERT OR REPLACE INTO scheduler_data SELECT ?, coalesce(max(id), 0) FROM resource",
        user_name,
    )


def resources(
    work: Work, user: User, facility: str = "", *, modality: str = "", workflow: str = ""
) -> list[sqlite3.Row]:
    """The loaded resources of the facilities that the user sees, and that are for the user's group."""
    newest = _newest(work, user)
    return [
        row
        for row in work.all(
            "SELECT r.*, f.time_zone FROM resource r JOIN facility f ON f.code = r.facility "
            "WHERE (? = '' OR r.facility = ?) AND (? = '' OR r.modality = ?) AND (? IS NULL OR r.id <= ?) "
            "AND (? = '' OR EXISTS (SELECT 1 FROM assignment a "
            "WHERE a.resource = r.id AND a.kind = 'workflow' AND a.name = ?)) ORDER BY r.facility, r.id",
            facility, facility, modality, modality, newest, newest, workflow, workflow,
        )
        if user.sees(row["facility"]) and assignments.serves(work, user, row["id"])
    ]  # fmt: skip


def not_loaded(work: Work, user: User, facility: str) -> list[str]:
    """The names of the facility's resources that Refresh Data would bring."""
    newest = _newest(work, user)
    if newest is None:
        return []
    rows = work.all("SELECT id, name FROM resource WHERE facility = ? AND id > ? ORDER BY id", facility, newest)
    return [row["name"] for row in rows if assignments.serves(work, user, row["id"])]


def _newest(work: Work, user: User) -> int | None:
    """None: a session from before this was kept, which shows everything."""
    row = work.one("SELECT newest_resource FROM scheduler_data WHERE user = ?", user.name)
    return None if row is None else int(row["newest_resource"])
