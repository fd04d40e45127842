"""An administrator's settings: resources, locations, status names, priorities."""

import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from powerserver_sim.accounts import User
from powerserver_sim.rules import Refused, check_clock
from simulator_kit.store import Work

MODALITIES: Final = ("CT", "DX", "MG", "MR", "NM", "PT", "US", "XA")
UNMAPPED: Final = "UNMAPPED"
"""Class of resources that the suite and OmegaAI do not know, for tests of a wrong set-up."""
ACTIONS: Final = (
    ("confirmed", "Confirmed"),
    ("arrived", "Arrived"),
    ("ready-for-scan", "Ready For Scan"),
    ("need-to-reschedule", "Need to reschedule"),
    ("cancelled-with-notice", "Cancelled w/ notice"),
    ("no-show", "No show"),
    ("not-yet-confirmed", "Not yet confirmed"),
    ("completed", "Completed"),
)
"""The scheduler's actions; the table action_status says which status each one sets."""
_LONGEST_NAME: Final = 64
_LONGEST_MINUTES: Final = 12 * 60
_MULTIPLIER: Final = re.compile(r"\d{1,2}(\.\d{1,2})?", re.ASCII)
_LARGEST_STATUS: Final = 9999
_LEAST_MULTIPLIER: Final = 0.25
_MOST_MULTIPLIER: Final = 4


@dataclass(frozen=True, slots=True)
class ResourceForm:
    """A row of the resources grid, checked; times are `HH:MM` in the facility's zone."""

    name: str
    modality: str
    department: str
    room: str
    class_: str
    opens: str
    closes: str
    default_minutes: int
    overbooking: bool
    time_multiplier: float = 1.0


@dataclass(frozen=True, slots=True)
class ResourceChange:
    """A resource was saved. Hooks get it under `resource`, in the transaction of the change."""

    key: int
    is_new: bool


def facilities_of(work: Work, user: User) -> list[sqlite3.Row]:
    return [row for row in work.all("SELECT * FROM facility ORDER BY code") if user.sees(row["code"])]


def read_resource(form: Mapping[str, str]) -> ResourceForm:
    # Both systems match the name exactly, so only its ends are trimmed.
    name = form.get("name", "").strip()
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refused("invalid", f"A resource needs a name of at most {_LONGEST_NAME} characters.", field="name")
    if form.get("modality", "") not in MODALITIES:
        raise Refused("invalid", "Choose the modality.", field="modality")
    opens, closes = check_clock(form.get("opens", ""), "opens"), check_clock(form.get("closes", ""), "closes")
    if opens >= closes:
        raise Refused("invalid", "The end time is after the start time.", field="closes")
    minutes = form.get("default_minutes", "")
    if not minutes.isdecimal() or not 1 <= int(minutes) <= _LONGEST_MINUTES:
        raise Refused("invalid", f"The default duration is 1 to {_LONGEST_MINUTES} minutes.", field="default_minutes")
    multiplier = form.get("time_multiplier") or "1"
    if not _MULTIPLIER.fullmatch(multiplier) or not _LEAST_MULTIPLIER <= float(multiplier) <= _MOST_MULTIPLIER:
        raise Refused(
            "invalid",
            f"The time multiplier is a number from {_LEAST_MULTIPLIER} to {_MOST_MULTIPLIER}.",
            field="time_multiplier",
        )
    return ResourceForm(
        name=name,
        modality=form["modality"],
        department=_short(form, "department"),
        room=_short(form, "room"),
        class_=_short(form, "class"),
        opens=opens,
        closes=closes,
        default_minutes=int(minutes),
        overbooking=form.get("overbooking") == "on",
        time_multiplier=float(multiplier),
    )


def save_resource(work: Work, facility: str, given: ResourceForm, key: int | None) -> int:
    """A new resource, or new values for an existing one; names are unique over all facilities."""
    if work.one("SELECT 1 FROM facility WHERE code = ?", facility) is None:
        raise Refused("unknown", "There is no such facility.")
    if work.one("SELECT 1 FROM resource WHERE name = ? AND id IS NOT ?", given.name, key) is not None:
        raise Refused("duplicate", "Another resource has this name.", field="name")
    values = (
        given.name, given.modality, given.department, given.room, given.class_, given.opens, given.closes,
        given.default_minutes, int(given.overbooking), given.time_multiplier, facility,
    )  # fmt: skip
    is_new = key is None
    if key is None:
        key = work.run(
            "INSERT INTO resource (name, modality, department, room, class, opens, closes, default_minutes, "
            "overbooking, time_multiplier, facility) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            *values,
        ).lastrowid
        assert key is not None  # noqa: S101 - INSERT gives its row a key
    else:
        changed = work.run(
            "UPDATE resource SET name = ?, modality = ?, department = ?, room = ?, class = ?, opens = ?, closes = ?, "
            "default_minutes = ?, overbooking = ?, time_multiplier = ? WHERE facility = ? AND id = ?",
            *values,
            key,
        ).rowcount
        if not changed:
            raise Refused("unknown", "There is no such resource.")
    work.changed("resource", ResourceChange(key, is_new=is_new))
    work.notice("catalogue")
    return key


def add_location(work: Work, facility: str, form: Mapping[str, str]) -> None:
    if work.one("SELECT 1 FROM facility WHERE code = ?", facility) is None:
        raise Refused("unknown", "There is no such facility.")
    department, room = _short(form, "department"), _short(form, "room")
    if not department or not room:
        raise Refused("invalid", "A location needs a department and a room.", field="room")
    known = work.one(
        "SELECT 1 FROM location WHERE facility = ? AND department = ? AND room = ?", facility, department, room
    )
    if known is not None:
        raise Refused("duplicate", "This room exists already.", field="room")
    work.run(
        "INSERT INTO location (facility, department, floor, room, phone, fax, auto_fax) VALUES (?, ?, ?, ?, ?, ?, ?)",
        facility, department, _short(form, "floor"), room, _short(form, "phone"), _short(form, "fax"),
        int(form.get("auto_fax") == "on"),
    )  # fmt: skip
    work.notice("catalogue")


def remove_location(work: Work, facility: str, key: int) -> None:
    """Remove a room in which no resource stands."""
    row = work.one("SELECT * FROM location WHERE facility = ? AND id = ?", facility, key)
    if row is None:
        raise Refused("unknown", "There is no such room.")
    used = work.one(
        "SELECT name FROM resource WHERE facility = ? AND department = ? AND room = ?",
        facility, row["department"], row["room"],
    )  # fmt: skip
    if used is not None:
        raise Refused("closed", f"{used['name']} stands in {row['room']}; give it another room first.")
    work.run("DELETE FROM location WHERE id = ?", key)
    work.notice("catalogue")


def add_status(work: Work, value: int, name: str) -> None:
    """A status of the site's own, beside the built-in ones."""
    _check_word(name)
    if not 1 <= value <= _LARGEST_STATUS:
        raise Refused("invalid", f"The order value is a number from 1 to {_LARGEST_STATUS}.", field="value")
    if work.one("SELECT 1 FROM status WHERE value = ? OR name = ?", value, name) is not None:
        raise Refused("duplicate", "This order value or name is taken.", field="value")
    work.run("INSERT INTO status VALUES (?, ?)", value, name)
    work.notice("catalogue")


def rename_status(work: Work, value: int, name: str) -> None:
    """A new name for an order value; appointments keep their status, and messages carry the new name."""
    _check_word(name)
    if work.one("SELECT 1 FROM status WHERE name = ? AND value <> ?", name, value) is not None:
        raise Refused("duplicate", "Another status has this name.", field="name")
    if not work.run("UPDATE status SET name = ? WHERE value = ?", name, value).rowcount:
        raise Refused("unknown", "There is no such status.")
    work.notice("catalogue")


def set_action_status(work: Work, action: str, status: int) -> None:
    if work.one("SELECT 1 FROM status WHERE value = ?", status) is None:
        raise Refused("unknown", "There is no such status.")
    if not work.run("UPDATE action_status SET status = ? WHERE action = ?", status, action).rowcount:
        raise Refused("unknown", "There is no such action.")


def add_priority(work: Work, value: str, name: str) -> None:
    _check_word(name)
    if not value.isdecimal() or not 1 <= int(value) <= 999:
        raise Refused("invalid", "The order value is a number from 1 to 999.", field="value")
    if work.one("SELECT 1 FROM priority WHERE value = ? OR name = ?", int(value), name) is not None:
        raise Refused("duplicate", "This order value or name is taken.", field="value")
    work.run("INSERT INTO priority VALUES (?, ?)", int(value), name)
    work.notice("catalogue")


def default_priority(work: Work) -> int:
    """The order value of the priority of a new order."""
    row = work.one("SELECT value FROM site_default WHERE key = 'priority'")
    return 20 if row is None else int(row["value"])


def set_default_priority(work: Work, value: str) -> None:
    if not value.isdecimal() or work.one("SELECT 1 FROM priority WHERE value = ?", int(value)) is None:
        raise Refused("unknown", "There is no such priority.", field="priority")
    work.run("INSERT OR REPLACE INTO site_default VALUES ('priority', ?)", int(value))
    work.notice("catalogue")


def rename_priority(work: Work, value: str, name: str) -> None:
    """A new name for a priority. A partner that sends the former name is refused from then on."""
    _check_word(name)
    number = int(value) if value.isdecimal() and len(value) < 6 else -1
    if work.one("SELECT 1 FROM priority WHERE name = ? AND value <> ?", name, number) is not None:
        raise Refused("duplicate", "Another priority has this name.", field="name")
    if not work.run("UPDATE priority SET name = ? WHERE value = ?", name, number).rowcount:
        raise Refused("unknown", "There is no such priority.")
    work.notice("catalogue")


def _check_word(name: str) -> None:
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise Refused("invalid", f"A name has 1 to {_LONGEST_NAME} characters.", field="name")


def _short(form: Mapping[str, str], name: str) -> str:
    value = form.get(name, "").strip()
    if len(value) > _LONGEST_NAME or not (value.isprintable()):
        raise Refused("invalid", f"{name.capitalize()} has at most {_LONGEST_NAME} characters.", field=name)
    return value
