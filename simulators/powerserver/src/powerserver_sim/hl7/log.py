"""Queries of the message log."""

import sqlite3
from typing import Final

from powerserver_sim.accounts import User
from simulator_kit.store import Work

OF_FACILITY: Final = (
    'EXISTS (SELECT 1 FROM "order" f WHERE f.facility = ? AND f.number = coalesce('
    '(SELECT g."order" FROM given_number g WHERE g.placer = m.placer), CAST(substr(m.placer, 2) AS INTEGER)))'
)
"""SQL condition on a message table `m`: messages about an order of the facility."""


def seen_by(user: User) -> tuple[str, list[str]]:
    """SQL condition and values: the messages that a user may see."""
    return ("1", []) if user.facility is None else (OF_FACILITY, [user.facility])


def waiting(work: Work, user: User) -> int:
    """The number of messages that wait to be sent."""
    condition, values = seen_by(user)
    row = work.one(
        f"SELECT count(*) AS count FROM outbound m WHERE state IN ('queued', 'retrying') AND {condition}",  # noqa: S608 - constants
        *values,
    )
    return int(row["count"]) if row is not None else 0


def troubled(work: Work, user: User) -> list[sqlite3.Row]:
    """The newest messages that were refused or are being retried, at most five."""
    condition, values = seen_by(user)
    return work.all(
        f"SELECT * FROM outbound m WHERE state IN ('retrying', 'rejected') AND {condition} ORDER BY id DESC LIMIT 5",  # noqa: S608 - constants
        *values,
    )
