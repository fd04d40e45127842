"""A request of the partner's, as strictly as staff's own bookings. Each function is one write.

A wanted time is proposed, and the old one stays booked until staff move the appointment; the setting `requests` of the
HL7 interface makes it move at once instead.
"""

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from typing import TypeAlias

from powerserver_sim import rules
from powerserver_sim.rules import local
from powerserver_sim.scheduler import appointments
from powerserver_sim.worklist import orders
from simulator_kit.store import Work

_Times: TypeAlias = "tuple[int | None, int | None]"


def ask_for_appointment(
    work: Work, placer: str, *, patient: int, resource: str, start: datetime, study_types: Sequence[str], priority: int
) -> int:
    """An appointment at SCHEDULED under the partner's number, waiting for staff. Returns the order's number."""
    place = appointments.resource_named(work, resource)
    number = orders.insert_order(
        work, patient=patient, facility=place["facility"], study_types=study_types, priority=priority, physician=None,
        placer=placer,
    )  # fmt: skip
    _keep(work, number, "new")
    appointments.put_on_calendar(work, number, place, start, by="hl7")
    return number


def ask_for_time(
    work: Work, number: int, place: sqlite3.Row, start: datetime, *, priority: int, control_id: str
) -> None:
    """Another time for an appointment, waiting for staff: its status goes back to SCHEDULED."""
    order = orders.load(work, number)
    start_at, end_at = appointments.claim_slot(work, number, place, start)
    work.run('UPDATE "order" SET priority = ? WHERE number = ?', priority, number)
    appointments.set_status(work, number, rules.SCHEDULED, by="hl7", control_id=control_id)
    _keep(work, number, "move", place, (start_at, end_at))
    if _moves_at_once(work):
        appointments.change_time(work, number, place, start, by="hl7", control_id=control_id)
        work.changed("order", orders.OrderChange(number, "moved"))
    work.notice("appointment", placer=orders.placer_of(work, number), facility=order["facility"])


def _keep(work: Work, number: int, kind: str, place: sqlite3.Row | None = None, times: _Times = (None, None)) -> None:
    work.run(
        "INSERT OR REPLACE INTO request VALUES (?, ?, ?, ?, ?, ?, 1)",
        number, kind, None if place is None else place["id"], *times, int(work.now.timestamp()),
    )  # fmt: skip
    detail: dict[str, object] = {"kind": kind}
    if place is not None and times[0] is not None:
        detail |= {"resource": place["name"], "wanted": local(times[0], place["time_zone"]).isoformat()}
    work.record("effect", "request.received", orders.placer_of(work, number), detail)


def _moves_at_once(work: Work) -> bool:
    row = work.one("SELECT value FROM setting WHERE key = 'requests'")
    return row is not None and row["value"] == "move"
