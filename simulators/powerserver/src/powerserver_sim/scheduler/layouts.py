"""The Resources Layout Editor: which resources a user's calendar shows, and in which order."""

import sqlite3
from collections.abc import Sequence

from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused
from powerserver_sim.scheduler import loaded
from simulator_kit.store import Work


def arranged(work: Work, user: User, resources: Sequence[sqlite3.Row]) -> list[sqlite3.Row]:
    """The resources in the user's order, without the hidden ones. Resources that the user never arranged come last."""
    layout = _layout(work, user)
    shown = [row for row in resources if layout.get(row["id"], (0, True))[1]]
    return sorted(shown, key=lambda row: layout.get(row["id"], (len(layout), True))[0])


def choices(work: Work, user: User, facility: str) -> list[tuple[sqlite3.Row, bool]]:
    """What the editor lists: each resource of the facility in the user's order, and whether it is shown."""
    layout = _layout(work, user)
    resources = loaded.resources(work, user, facility)
    ordered = sorted(resources, key=lambda row: layout.get(row["id"], (len(layout), True))[0])
    return [(row, layout.get(row["id"], (0, True))[1]) for row in ordered]


def arrange(work: Work, user: User, facility: str, order: Sequence[str], shown: Sequence[str]) -> None:
    """Keep the user's layout of one facility: `order` names its resources, `shown` those on the calendar."""
    known = {row["name"]: row["id"] for row in loaded.resources(work, user, facility)}
    if not set(order) <= known.keys() or len(set(order)) != len(order):
        raise Refused("unknown", "The layout names a resource that is not on your scheduler.", field="order")
    if not set(shown) & set(order):
        raise Refused("invalid", "Show at least one resource.", field="shown")
    for position, name in enumerate(order):
        work.run(
            "INSERT OR REPLACE INTO resource_layout VALUES (?, ?, ?, ?)",
            user.name, known[name], position, int(name in shown),
        )  # fmt: skip


def _layout(work: Work, user: User) -> dict[int, tuple[int, bool]]:
    rows = work.all("SELECT * FROM resource_layout WHERE user = ?", user.name)
    return {row["resource"]: (row["position"], bool(row["is_shown"])) for row in rows}
