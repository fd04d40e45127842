"""The modality worklist as DICOM sees it: an item for each study of an open appointment.

The matching keys are those of PS3.4, table K.6-1, that PowerServer is assumed to support.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

from powerserver_sim import rules
from powerserver_sim.worklist.orders import placer_of, study_uid
from simulator_kit.store import Work

ON_THE_WORKLIST: Final = (rules.SCHEDULED, rules.CONFIRMED, rules.ARRIVED, rules.READY_FOR_SCAN)
"""A cancelled, missed or completed appointment leaves the modality worklist."""
_LONGEST_AE_TITLE: Final = 16
_STEP_STATUS: Final = {rules.ARRIVED: "ARRIVED", rules.READY_FOR_SCAN: "READY"}
_WIDEST_ZONE: Final = timedelta(hours=14)
T = TypeVar("T")


class WrongKeyError(ValueError):
    """A matching key is not what the standard allows; the text names the key."""


def ae_title(resource: str) -> str:
    """The station's AE title: the resource's name, blanks as underscores, at most 16 characters."""
    return re.sub(r"[^A-Z0-9_]", "_", resource.upper())[:_LONGEST_AE_TITLE]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The matching keys of one C-FIND. None is universal matching; dates and times are the facility's own."""

    station: str | None = None
    modality: str | None = None
    first_day: date | None = None
    last_day: date | None = None
    first_time: time | None = None
    last_time: time | None = None
    patient_id: str | None = None
    accession: str | None = None
    placer: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One scheduled procedure step."""

    placer: str
    filler: str
    accession: str
    study_uid: str
    step_id: str
    code: str
    description: str
    modality: str
    station: str
    station_name: str
    location: str
    starts: datetime
    status: str
    patient_id: str
    issuer: str
    family: str
    given: str
    middle: str
    birth_date: str
    sex: str
    referring: str


def read_date_range(value: str) -> tuple[date | None, date | None]:
    """A DA of matching: a day, or a range of which either side may be open."""
    return _range(value, _day, "ScheduledProcedureStepStartDate")


def read_time_range(value: str) -> tuple[time | None, time | None]:
    """A TM of matching: HH, HHMM or HHMMSS, or a range of them. The last time of a range includes its whole unit."""
    first, last = _range(value, _time, "ScheduledProcedureStepStartTime")
    if last is not None:
        text = value.rpartition("-")[2]
        last = last.replace(second=last.second if len(text) > 4 else 59, minute=last.minute if len(text) > 2 else 59)
    return first, last


def find(work: Work, wanted: Wanted) -> list[Item]:
    """The items that match, in the order of their starts."""
    return [item for item in _items(work, wanted) if _fits(item, wanted)]


def _items(work: Work, wanted: Wanted) -> Iterator[Item]:
    conditions, values = [f"o.status IN ({','.join('?' * len(ON_THE_WORKLIST))})"], [*ON_THE_WORKLIST]
    if wanted.first_day is not None:
        conditions.append("o.start_at >= ?")
        values.append(_edge(wanted.first_day) - int(_WIDEST_ZONE.total_seconds()) - 24 * 3600)
    if wanted.last_day is not None:
        conditions.append("o.start_at < ?")
        values.append(_edge(wanted.last_day) + int(_WIDEST_ZONE.total_seconds()) + 24 * 3600)
    orders = work.all(
        "SELECT o.number, o.start_at, o.status, r.name AS resource, r.room, r.slot_minutes, f.time_zone, "  # noqa: S608 - fixed words
        "p.patient_id, p.issuer, p.family, p.given, p.middle, p.birth_date, p.sex, "
        "coalesce(d.family || '^' || d.given, '') AS referring "
        'FROM "order" o JOIN resource r ON r.id = o.resource JOIN facility f ON f.code = o.facility '
        "JOIN patient p ON p.key = o.patient LEFT JOIN physician d ON d.id = o.physician "
        f"WHERE o.start_at IS NOT NULL AND {' AND '.join(conditions)} ORDER BY o.start_at, o.number",
        *values,
    )
    for order in orders:
        yield from _of_order(work, order)


def _of_order(work: Work, order: sqlite3.Row) -> Iterator[Item]:
    studies = work.all(
        'SELECT x.*, t.description FROM study x JOIN study_type t ON t.code = x.study_type WHERE x."order" = ? '
        "ORDER BY x.position",
        order["number"],
    )
    minutes = rules.booked_minutes([study["minutes"] for study in studies], order["slot_minutes"])
    starts = datetime.fromtimestamp(order["start_at"], UTC).astimezone(ZoneInfo(order["time_zone"]))
    for study, length in zip(studies, minutes, strict=True):
        yield Item(
            placer=placer_of(work, order["number"]),
            filler=study["accession"],
            accession=study["accession"],
            study_uid=study_uid(order["number"], study["position"]),
            step_id=f"{order['number']}.{study['position']}",
            code=study["study_type"],
            description=study["description"],
            modality=study["modality"],
            station=ae_title(order["resource"]),
            station_name=order["resource"][:16],
            location=order["room"],
            starts=starts,
            status=_STEP_STATUS.get(order["status"], "SCHEDULED"),
            patient_id=order["patient_id"],
            issuer=order["issuer"],
            family=order["family"],
            given=order["given"],
            middle=order["middle"],
            birth_date=order["birth_date"].replace("-", ""),
            sex=order["sex"],
            referring=order["referring"],
        )
        starts = (starts.astimezone(UTC) + timedelta(minutes=length)).astimezone(starts.tzinfo)


def _fits(item: Item, wanted: Wanted) -> bool:
    day, clock = item.starts.date(), item.starts.time()
    return (
        wanted.station in {None, item.station}
        and wanted.modality in {None, item.modality}
        and wanted.patient_id in {None, item.patient_id}
        and wanted.accession in {None, item.accession}
        and wanted.placer in {None, item.placer}
        and (wanted.first_day is None or day >= wanted.first_day)
        and (wanted.last_day is None or day <= wanted.last_day)
        and (wanted.first_time is None or clock >= wanted.first_time)
        and (wanted.last_time is None or clock <= wanted.last_time)
    )


def _edge(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _day(text: str) -> date:
    return datetime.strptime(text, "%Y%m%d").date()  # noqa: DTZ007 - a date has no zone


def _time(text: str) -> time:
    form = {2: "%H", 4: "%H%M", 6: "%H%M%S"}[len(text)]
    return datetime.strptime(text, form).time()  # noqa: DTZ007 - a clock has no zone


def _range(value: str, read: Callable[[str], T], name: str) -> tuple[T | None, T | None]:
    first, dash, last = value.partition("-")
    if value == "-":
        raise WrongKeyError(f"{name} has neither a first nor a last")
    try:
        if not dash:
            return read(first), read(first)
        return read(first) if first else None, read(last) if last else None
    except (ValueError, LookupError):
        raise WrongKeyError(f"{name} is no date, time or range") from None
