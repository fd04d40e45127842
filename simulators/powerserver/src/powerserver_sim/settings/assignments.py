"""Assignments: the workflows that a resource takes part in, and the user groups that it is for."""

from collections.abc import Iterable
from typing import Final, Literal

from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused
from simulator_kit.store import Work

Kind = Literal["workflow", "group"]
TABLES: Final[dict[Kind, str]] = {"workflow": "workflow", "group": "user_group"}


def names(work: Work, kind: Kind) -> list[str]:
    """All workflows, or all user groups."""
    return [row["name"] for row in work.all(f"SELECT name FROM {TABLES[kind]} ORDER BY name")]  # noqa: S608 - constants


def assigned(work: Work, resource: int, kind: Kind) -> list[str]:
    rows = work.all("SELECT name FROM assignment WHERE resource = ? AND kind = ? ORDER BY name", resource, kind)
    return [row["name"] for row in rows]


def assign(work: Work, resource: int, kind: Kind, wanted: Iterable[str]) -> None:
    """Replace the assignments of one kind. A resource without a group is for everyone."""
    known = set(names(work, kind))
    work.run("DELETE FROM assignment WHERE resource = ? AND kind = ?", resource, kind)
    for name in sorted(set(wanted)):
        if name not in known:
            raise Refused("unknown", f"There is no {'user group' if kind == 'group' else 'workflow'} of that name.")
        work.run("INSERT INTO assignment VALUES (?, ?, ?)", resource, kind, name)


def serves(work: Work, user: User, resource: int) -> bool:
    """Whether the resource is for the user's group. Administrators use every resource."""
    if user.is_admin:
        return True
    groups = assigned(work, resource, "group")
    return not groups or user.group in groups


def require(work: Work, user: User, resource: int, name: str) -> None:
    if not serves(work, user, resource):
        raise Refused("privilege", f"{name} is assigned to other user groups than yours.", field="resource")
