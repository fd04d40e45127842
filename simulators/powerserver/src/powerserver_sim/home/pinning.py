"""The modules of the home page, and what each user has pinned. Each function is one write, or one query."""

from dataclasses import dataclass
from typing import Final, Literal

from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused
from simulator_kit.store import Work

Kind = Literal["module", "notification"]
IS_NOTIFICATION: Final = (
    "(kind = 'request.received' OR (kind IN ('appointment.status', 'appointment.moved') "
    "AND json_extract(detail, '$.by') = 'hl7'))"
)
"""SQL condition: rows of the ledger that patients, or OmegaAI, brought about."""
_MOST_PINNED: Final = 24
_LONGEST_NUMBER: Final = 15


@dataclass(frozen=True, slots=True)
class Module:
    """A tile of the home page."""

    key: str
    words: str
    more: str
    address: str


MODULES: Final = (
    Module("scheduler", "Scheduler", "Calendar of the resources", "/scheduler"),
    Module("worklist", "Worklist", "All studies by status", "/worklist"),
    Module("waiting-room", "Waiting room", "Who is here today", "/waiting-room"),
    Module("add-new-patient", "Add New Patient", "Demographics, e-mail", "/patients/new"),
    Module("create-new-order", "Create New Order", "With or without a time", "/orders/new"),
    Module("patients", "Patient records", "Search and edit", "/patients"),
    Module("facilities", "Imaging facilities", "Resources, locations", "/settings/facilities"),
    Module("messages", "HL7 messages", "Sent and received", "/messages"),
    Module("apps", "RamSoft apps", "App tile and launcher", "/portal"),
)


def pinned(work: Work, user: User, kind: Kind) -> list[str]:
    return [row["key"] for row in work.all("SELECT key FROM pin WHERE user = ? AND kind = ?", user.name, kind)]


def toggle(work: Work, user: User, kind: str, key: str) -> None:
    """Pin, or take the pin away."""
    known = key in {module.key for module in MODULES} if kind == "module" else _is_notification(work, key)
    if kind not in ("module", "notification") or not known:
        raise Refused("unknown", "There is nothing of that name to pin.", field="key")
    if work.run("DELETE FROM pin WHERE user = ? AND kind = ? AND key = ?", user.name, kind, key).rowcount:
        return
    count = work.one("SELECT count(*) AS count FROM pin WHERE user = ? AND kind = ?", user.name, kind)
    if count is not None and count["count"] >= _MOST_PINNED:
        raise Refused("closed", f"At most {_MOST_PINNED} can be pinned; take a pin away first.")
    work.run("INSERT INTO pin VALUES (?, ?, ?)", user.name, kind, key)


def _is_notification(work: Work, key: str) -> bool:
    if not key.isascii() or not key.isdecimal() or len(key) > _LONGEST_NUMBER:
        return False
    return work.one(f"SELECT 1 FROM ledger WHERE seq = ? AND {IS_NOTIFICATION}", int(key)) is not None  # noqa: S608 - constants
