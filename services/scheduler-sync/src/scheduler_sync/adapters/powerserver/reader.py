"""SIU and ORM to one command. Whichever of the two brings a booking, the placer number is what joins it.

Only the fields that are needed are read. What breaks the standard is Malformed (answered AR), what this site does not
know is NeedsSetup (answered AE, kept, and replayed after the fix).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from chassis.errors import Malformed
from hl7v2 import Message
from scheduler_sync.adapters.powerserver import fields
from scheduler_sync.domain.appointment import Slot, StaffFacts, Study
from scheduler_sync.domain.statuses import WorkflowStep
from scheduler_sync.messages import ChangeAppointmentByStaff
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFacility, SiteFile

MOST_SEGMENTS: Final = 1000
MOST_BYTES: Final = 256 * 1024
"""Of the segments that are read. An appointment with more cannot be told to anybody: an event holds less."""
_LOOKED_AT_BYTES: Final = 4 * MOST_SEGMENTS  # fewer bytes hold fewer segments
_READ: Final = ("PID", "PV1", "SCH", "AIS", "AIG", "AIL", "ORC", "OBR", "NTE")
UNSUPPORTED_MESSAGE_TYPE: Final = "200"
UNSUPPORTED_EVENT_CODE: Final = "201"

_SIU_MEANS: Final[dict[str, WorkflowStep | None]] = {
    "S12": WorkflowStep.SCHEDULED,
    "S13": None,
    "S14": None,
    "S15": WorkflowStep.CANCELLED,
    "S26": WorkflowStep.NO_SHOW,
}
"""What the event alone says of the status, where SCH-25 is empty."""
_ENDINGS: Final = frozenset({WorkflowStep.CANCELLED, WorkflowStep.NO_SHOW})
_ORDER_CONTROLS: Final = frozenset({"NW", "XO", "SC", "CA", "OC", "DC"})
_CANCELLING_CONTROLS: Final = frozenset({"CA", "OC", "DC"})


def read(message: Message, site: SiteFile, resources: Resources, *, received_at: datetime) -> ChangeAppointmentByStaff:
    """The command that a message of PowerServer is. Raises Malformed, NeedsSetup, Transient."""
    if message.size > _LOOKED_AT_BYTES:
        _check_extent(message)
    if message.type == "SIU":
        return _siu(message, site, resources, received_at)
    if message.type == "ORM":
        return _orm(message, site, resources, received_at)
    raise Malformed("MSH-9.1: only SIU and ORM are taken", location="MSH-9.1", code=UNSUPPORTED_MESSAGE_TYPE)


def _check_extent(message: Message) -> None:
    number, size = message.extent(*_READ)
    if number > MOST_SEGMENTS or size > MOST_BYTES:
        what = f"{', '.join(_READ)}: together more than {MOST_SEGMENTS} segments or {MOST_BYTES // 1024} KiB"
        raise Malformed(what, location="", code=fields.VALUE_TOO_LONG)


def placer_number(message: Message) -> str | None:
    """SCH-1 or ORC-2, to load the link of a message before it is read."""
    return message.get("SCH-1") or message.get("ORC-2") or message.get("OBR-2")


def _siu(message: Message, site: SiteFile, resources: Resources, received_at: datetime) -> ChangeAppointmentByStaff:
    if message.trigger not in _SIU_MEANS:
        raise Malformed("MSH-9.2: this SIU event is not taken", location="MSH-9.2", code=UNSUPPORTED_EVENT_CODE)
    placer = fields.required(message, "SCH-1")
    fields.required(message, "PID-3.1")
    implied = _SIU_MEANS[message.trigger]
    if implied not in _ENDINGS and not (message.get("SCH-11.4") or message.get("AIS-4")):
        raise Malformed("SCH-11.4 is missing", location="SCH-11.4", code=fields.REQUIRED_FIELD_MISSING)
    patient = fields.patient(message, site)
    code, facility = fields.facility(message, site, ("AIL-3.4", "PV1-3.4", "MSH-4"))
    told = fields.step(message, "SCH-25", site)
    step = implied if implied in _ENDINGS else told or implied
    start = fields.time(message, "SCH-11.4", facility.zone) or fields.time(message, "AIS-4", facility.zone)
    slot = _slot(message, facility, start, "SCH-11", ("SCH-11.3", "SCH-9", "AIS-7"))
    name = fields.text(message, "AIG-3.1")
    resource = None if name is None or step in _ENDINGS else resources.named(code, name)
    studies = _studies([fields.coded(segment, "3") for segment in message.segments("AIS")])
    return ChangeAppointmentByStaff(
        name=f"SIU^{message.trigger}",
        placer_number=placer,
        patient=patient,
        appointment=StaffFacts(
            step=step,
            facility=code,
            resource=name,
            modality=fields.text(message, "AIG-4") or (resource.modality if resource else None),
            slot=slot,
            studies=studies or _studies([fields.coded(segment, "7") for segment in message.segments("SCH", most=1)]),
            filler_id=fields.text(message, "SCH-2"),
            reason=(fields.words(message, "SCH-6.2") or fields.words(message, "SCH-6.1")) if step in _ENDINGS else None,
        ),
        resource=resource,
        said_at=fields.made_at(message, facility.zone, received_at),
    )


def _orm(message: Message, site: SiteFile, resources: Resources, received_at: datetime) -> ChangeAppointmentByStaff:
    if message.trigger not in ("O01", ""):
        raise Malformed("MSH-9.2: this ORM event is not taken", location="MSH-9.2", code=UNSUPPORTED_EVENT_CODE)
    control = fields.required(message, "ORC-1").upper()
    if control not in _ORDER_CONTROLS:
        raise Malformed("ORC-1: this order control is not taken", location="ORC-1", code="103")
    placer = fields.required(message, "ORC-2")
    for number, group in enumerate(message.segments("ORC"), 1):
        if group.get("2") not in (None, placer):
            where = f"ORC[{number}]-2"
            raise Malformed(f"{where}: one message speaks of one placer number", location=where, code="207")
    fields.required(message, "PID-3.1")
    patient = fields.patient(message, site)
    code, facility = fields.facility(message, site, ("ORC-13.4", "PV1-3.4", "MSH-4"))
    step = WorkflowStep.CANCELLED if control in _CANCELLING_CONTROLS else fields.step(message, "ORC-16", site)
    timing = "ORC-7" if message.get("ORC-7.4") else "OBR-27"
    start = fields.time(message, f"{timing}.4", facility.zone)
    if step is None and control == "NW":
        step = WorkflowStep.ORDERED if start is None else WorkflowStep.SCHEDULED
    name = fields.text(message, site.hl7.orm_resource_field)
    resource = None if name is None or step in _ENDINGS else resources.named(code, name)
    orders = message.segments("OBR")
    accessions = [
        fields.text(message, "ORC-3"),
        *(fields.text(message, f"OBR[{n}]-3") for n in range(1, len(orders) + 1)),
    ]
    return ChangeAppointmentByStaff(
        name=f"ORM^O01 {control}",
        placer_number=placer,
        patient=patient,
        appointment=StaffFacts(
            step=step,
            facility=code,
            resource=name,
            modality=fields.text(message, "OBR-24") or (resource.modality if resource else None),
            slot=_slot(message, facility, start, timing, (f"{timing}.3",)),
            studies=_studies([fields.coded(order, "4") for order in orders]),
            accession_numbers=tuple(dict.fromkeys(one for one in accessions if one)),
            reason=fields.words(message, "NTE-3") if step in _ENDINGS else None,
        ),
        resource=resource,
        said_at=fields.made_at(message, facility.zone, received_at),
    )


def _slot(
    message: Message, facility: SiteFacility, start: datetime | None, timing: str, durations: Sequence[str]
) -> Slot | None:
    if start is None:
        return None
    end = fields.time(message, f"{timing}.5", facility.zone)
    if end is None:
        found = next((number for path in durations if (number := fields.minutes(message, path))), None)
        if found is None:
            where = f"{timing}.5"
            raise Malformed(f"{where}: neither an end nor a duration", location=where, code="101")
        end = start + timedelta(minutes=found)
    if end <= start:
        where = f"{timing}.5"
        raise Malformed(f"{where}: the end is not after the start", location=where, code=fields.DATA_TYPE_ERROR)
    return Slot(start, end, facility.time_zone)


def _studies(found: Sequence[tuple[str, str] | None]) -> tuple[Study, ...]:
    return tuple(Study(*one) for one in found if one is not None)
