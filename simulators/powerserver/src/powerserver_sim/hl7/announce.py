"""Queues the messages about a change, in the transaction of the change."""

import sqlite3
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.hl7 import master_files, messages
from powerserver_sim.patients.people import PatientChange
from powerserver_sim.settings import reservations
from powerserver_sim.settings.catalogue import ResourceChange
from powerserver_sim.settings.reservations import ReservationChange
from powerserver_sim.worklist import orders
from powerserver_sim.worklist.orders import Event, OrderChange
from simulator_kit.store import Work, stamp

ANNOUNCED_DAYS: Final = 28
"""How far ahead reserved days are announced."""
_SIU_TRIGGER: Final[dict[Event, str]] = {
    "booked": "S12",
    "moved": "S13",
    "modified": "S14",
    "cancelled": "S15",
    "no-show": "S26",
}
_ADT_TRIGGERS: Final = {"on": ("A04", "A08"), "persons": ("A28", "A31")}
"""By the setting `adt_out`: the events of a new and of a changed patient."""
_ORDER_CONTROL: Final[dict[Event, str]] = {
    "ordered": "SC",
    "booked": "NW",
    "moved": "XO",
    "modified": "SC",
    "cancelled": "CA",
    "no-show": "SC",
}


def order_changed(work: Work, change: OrderChange) -> None:
    """The hook of orders."""
    change.control_ids.extend(order(work, change.number, change.event))


def order(work: Work, number: int, event: Event) -> list[str]:
    """Queue the profile's messages about an order; returns their control ids."""
    profile = _setting(work, "profile")
    view = order_view(work, number)
    sent: list[str] = []
    if profile in ("siu", "both") and event in _SIU_TRIGGER:
        control_id = _control_id(work)
        message = messages.siu(view, _SIU_TRIGGER[event], control_id, work.now)
        _queue(
            work, control_id, lane=view.placer, placer=view.placer, kind=f"SIU^{_SIU_TRIGGER[event]}", payload=message
        )
        sent.append(control_id)
    if profile in ("orm", "both"):
        row = work.one('SELECT orm_announced FROM "order" WHERE number = ?', number)
        known = row is not None and bool(row["orm_announced"])
        # For a partner that never got the order as ORM, the order is new, whatever its history here.
        control = "XO" if known and event == "booked" else _ORDER_CONTROL[event] if known else "NW"
        control_id = _control_id(work)
        message = messages.orm(view, control, control_id, work.now)
        _queue(work, control_id, lane=view.placer, placer=view.placer, kind="ORM^O01", payload=message)
        if not known:
            work.run('UPDATE "order" SET orm_announced = 1 WHERE number = ?', number)
        sent.append(control_id)
    return sent


def patient_changed(work: Work, change: PatientChange) -> None:
    """The hook of patients: queue ADT, if the site sends it."""
    key, said = change.key, _setting(work, "adt_out")
    if said not in _ADT_TRIGGERS:
        return
    new, changed = _ADT_TRIGGERS[said]
    trigger = "A40" if change.ended is not None else new if change.is_new else changed
    row = work.one("SELECT * FROM patient WHERE key = ?", key)
    home = work.one("SELECT code, time_zone FROM facility ORDER BY code LIMIT 1")
    if row is None or home is None:
        return
    control_id = _control_id(work)
    message = messages.adt(
        _person(row),
        facility=home["code"],
        zone=ZoneInfo(home["time_zone"]),
        trigger=trigger,
        control_id=control_id,
        at=work.now,
        ended=change.ended,
    )
    _queue(work, control_id, lane=f"patient-{key}", placer="", kind=f"ADT^{trigger}", payload=message)


def resource_changed(work: Work, change: ResourceChange) -> None:
    """The hook of resources: queue MFN, unless the site does not send it."""
    if _setting(work, "mfn_out") == "off":
        return
    row = work.one("SELECT * FROM resource WHERE id = ?", change.key)
    home = None if row is None else work.one("SELECT time_zone FROM facility WHERE code = ?", row["facility"])
    if row is None or home is None:
        return
    control_id = _control_id(work)
    message = master_files.mfn(row, ZoneInfo(home["time_zone"]), control_id, work.now, is_new=change.is_new)
    _queue(work, control_id, lane=f"resource-{change.key}", placer="", kind="MFN^M05", payload=message)


def reservation_changed(work: Work, change: ReservationChange) -> None:
    """The hook of reservations: queue SIU^S23 or S24 for each reserved day of the next four weeks."""
    row = change.reservation
    place = work.one(
        "SELECT r.name, r.modality, r.facility, f.time_zone FROM resource r JOIN facility f ON f.code = r.facility "
        "WHERE r.id = ?",
        row["resource"],
    )
    if place is None or _setting(work, "profile") not in ("siu", "both"):
        return
    zone, trigger = ZoneInfo(place["time_zone"]), "S24" if change.is_over else "S23"
    today = work.now.astimezone(zone).date()
    for ahead in range(ANNOUNCED_DAYS):
        day = today + timedelta(days=ahead)
        for start, end, purpose in reservations.on_day([row], day, zone):
            control_id = _control_id(work)
            number = f"R{row['id']}-{day:%Y%m%d}"
            at = place["facility"], zone, place["name"], place["modality"]
            block = messages.BlockView(number, *at, start, end, purpose)
            payload = messages.blocked(block, trigger, control_id, work.now)
            _queue(work, control_id, lane=f"reservation-{row['id']}", placer="", kind=f"SIU^{trigger}", payload=payload)


def order_view(work: Work, number: int) -> messages.OrderView:
    """The data that messages about this order hold."""
    row = work.one(
        "SELECT o.number, o.facility, o.start_at, o.end_at, o.status, s.name AS status_name, p.name AS priority_name, "
        "f.time_zone, r.name AS resource_name, r.modality AS resource_modality, r.department, r.room, "
        "r.slot_minutes, d.id AS physician_id, d.family AS physician_family, d.given AS physician_given, o.patient "
        'FROM "order" o JOIN status s ON s.value = o.status JOIN priority p ON p.value = o.priority '
        "JOIN facility f ON f.code = o.facility LEFT JOIN resource r ON r.id = o.resource "
        "LEFT JOIN physician d ON d.id = o.physician WHERE o.number = ?",
        number,
    )
    if row is None:
        raise LookupError("order")
    person = work.one("SELECT * FROM patient WHERE key = ?", row["patient"])
    if person is None:
        raise LookupError("patient")
    reason = work.one('SELECT reason FROM off_reason WHERE "order" = ?', number)
    studies = work.all(
        "SELECT s.position, s.accession, s.study_type, t.description, s.modality, s.minutes FROM study s "
        'JOIN study_type t ON t.code = s.study_type WHERE s."order" = ? ORDER BY s.position',
        number,
    )
    default_minutes = row["slot_minutes"] or rules.SHORTEST_MINUTES
    zone = ZoneInfo(row["time_zone"])
    return messages.OrderView(
        number=number,
        placer=orders.placer_of(work, number),
        off_reason="" if reason is None else reason["reason"],
        facility=row["facility"],
        zone=zone,
        resource=row["resource_name"],
        department=row["department"] or "",
        room=row["room"] or "",
        modality=row["resource_modality"] or "",
        start=_at(row["start_at"], zone),
        end=_at(row["end_at"], zone),
        status=row["status"],
        status_name=row["status_name"],
        priority=row["priority_name"],
        physician=(row["physician_id"] or "", row["physician_family"] or "", row["physician_given"] or ""),
        patient=_person(person),
        studies=[
            messages.StudyView(
                position=study["position"],
                accession=study["accession"],
                code=study["study_type"],
                description=study["description"],
                modality=study["modality"] or row["resource_modality"] or "",
                minutes=rules.booked_minutes([study["minutes"]], default_minutes)[0],
            )
            for study in studies
        ],
    )


def _person(row: sqlite3.Row) -> messages.PatientView:
    return messages.PatientView(**{name: row[name] for name in messages.PatientView.__annotations__})


def _at(seconds: int | None, zone: ZoneInfo) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).astimezone(zone)


def _setting(work: Work, key: str) -> str:
    row = work.one("SELECT value FROM setting WHERE key = ?", key)
    return "" if row is None else str(row["value"])


def _control_id(work: Work) -> str:
    return f"PS{work.next_number('control'):010d}"


def _queue(work: Work, control_id: str, *, lane: str, placer: str, kind: str, payload: bytes) -> None:
    work.run(
        "INSERT INTO outbound (control_id, lane, placer, type, payload, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        control_id, lane, placer, kind, payload, stamp(work.now),
    )  # fmt: skip
    work.notice("outbound", control_id=control_id, placer=placer, state="queued")
