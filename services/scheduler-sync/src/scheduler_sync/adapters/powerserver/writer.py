"""Writes a status of an appointment as HL7: SIU, or ORM where the site's profile says so.

The bytes are made once, in the transaction of the decision, and kept in the delivery: a repeat is the same message with
the same MSH-10, by which PowerServer detects it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID
from zoneinfo import ZoneInfo

from chassis.hl7 import control_id
from hl7v2 import Message, format_timestamp
from scheduler_sync.adapters.powerserver.values import OWN_CODES
from scheduler_sync.domain.appointment import AppointmentLink, Study, WorkflowStep, requests
from scheduler_sync.domain.patient import Patient
from scheduler_sync.site import SiteFile

_SIU_EVENT: Final = {WorkflowStep.CANCELLED: "S15", WorkflowStep.NO_SHOW: "S26"}
_CHARSET: Final = "UNICODE UTF-8"
_SCH_11_REQUIRED: Final = frozenset({"2.3", "2.3.1", "2.4"})
_ORC_7_REQUIRED: Final = frozenset({"2.3"})
"""The same type as OBR-27."""
_STRUCTURE_NAMED: Final = frozenset({"2.4", "2.5", "2.5.1"})
"""Versions whose MSH-9 has a third component, the message structure."""
_LONGEST_TEXT: Final = 200
"""Length of a CE up to 2.3.1, and of a text within one from 2.4 on."""
_LONGEST_PERSON: Final = 15
_LONGEST_MODALITY: Final = 10
_LONGEST_PID_2: Final = 20
_LONGEST_PID_2_IN_2_3: Final = 16
_NO_NAME: Final = [None] * 6 + ["U"]
"""PID-5 of a patient without a name: its type is unspecified."""
_TWICE_A_RESOURCE: Final = 39
"""A longer name of a resource is written once: AIG-3 has 80 characters in 2.3."""
_CLINIC: Final = ["C", None, "HL70305"]
"""A place for outpatients, HL7's table 0305. AIL-4 has 15 characters in 2.3."""
_UNKNOWN: Final = "not known"
_NO_STUDY: Final = Study("", "")
"""The one order of an appointment without studies: an ORM without an order would carry no status."""
_OID: Final = re.compile(r"[0-2](?:\.\d+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Event:
    """What a message tells: the SIU event and the order control, the step, and the priority of a request."""

    siu: str
    orm: str
    step: WorkflowStep
    priority: str | None = None


_REQUEST: Final = {True: ("S12", "NW"), False: ("S13", "XO")}
"""The SIU event and the order control of a request: of a new appointment, or of another time."""
_TIMED_BY_TQ1: Final = frozenset({"2.5", "2.5.1"})
"""Versions in which TQ1 of an SIU has the priority; SCH-11 has it in all."""


class Hl7StatusWriter:
    """Writes messages by the present site file."""

    def __init__(self, site: Callable[[], SiteFile]) -> None:
        self._site = site

    def control_id(self, delivery_id: UUID) -> str:
        return control_id(delivery_id)

    def status_message(
        self, link: AppointmentLink, patient: Patient, step: WorkflowStep, *, control_id: str, made_at: datetime
    ) -> bytes:
        """The message that tells PowerServer that ``link`` has reached ``step``."""
        control = "CA" if step is WorkflowStep.CANCELLED else "SC"
        event = _Event(_SIU_EVENT.get(step, "S14"), control, step)
        return self._message(link, patient, event, control_id, made_at)

    def request_message(
        self, link: AppointmentLink, patient: Patient, *, is_new: bool, control_id: str, made_at: datetime
    ) -> bytes:
        """The message that asks PowerServer for an appointment, or for the time that the patient wants instead.

        Its priority marks a request: PowerServer books nothing else without its staff's word.
        """
        event = _Event(*_REQUEST[is_new], WorkflowStep.SCHEDULED, self._site().hl7.request_priority)
        wanted = link if is_new or link.requested_slot is None else replace(link, slot=link.requested_slot)
        if wanted.slot != link.slot:
            wanted = replace(wanted, studies=tuple(replace(study, start=None) for study in link.studies))
        return self._message(wanted, patient, event, control_id, made_at)

    def _message(
        self, link: AppointmentLink, patient: Patient, event: "_Event", control_id: str, made_at: datetime
    ) -> bytes:
        site = self._site()
        facility = site.facilities[link.facility]
        kind = "ORM^O01" if site.hl7.send == "orm" else f"SIU^{event.siu}"
        if site.hl7.version in _STRUCTURE_NAMED:
            kind += "^ORM_O01" if site.hl7.send == "orm" else "^SIU_S12"
        message = Message.new(
            version=site.hl7.version,
            type=kind,
            control_id=control_id,
            sending=(site.hl7.sending_application, site.hl7.sending_facility or site.site.upper()),
            receiving=(site.hl7.receiving_application, link.facility),
            at=made_at.astimezone(facility.zone),
            charset=_CHARSET,
        )
        if site.hl7.send == "orm":
            _add_order(message, site, link, patient, event)
        else:
            _add_appointment(message, site, link, patient, event)
        return message.to_bytes()


def _assigner(link: AppointmentLink, site: SiteFile) -> str:
    """The assigner of a placer number: the suite made the numbers of what patients ask for."""
    is_ours = requests.is_ours(link.placer_number)
    return site.hl7.sending_application if is_ours else site.hl7.receiving_application


def _add_appointment(message: Message, site: SiteFile, link: AppointmentLink, patient: Patient, event: _Event) -> None:
    step = event.step
    start, end, minutes = _times(link, site.facilities[link.facility].zone)
    receiver, sender = site.hl7.receiving_application, site.hl7.sending_application
    reason = link.reason if step is WorkflowStep.CANCELLED else None
    studies = [_study(message, study) for study in link.studies]
    message.add(
        "SCH",
        {
            1: [link.placer_number, _assigner(link, site)],
            2: [link.filler_id, receiver] if link.filler_id else None,
            6: _coded(message, step.value.upper(), reason, OWN_CODES),
            7: studies[0] if studies else None,
            9: minutes,
            10: ["min", "minutes", "ISO+"],
            11: _timing(minutes, start, end, is_required=site.hl7.version in _SCH_11_REQUIRED, priority=event.priority),
            16: site.hl7.filler_contact or receiver[:_LONGEST_PERSON],
            20: site.hl7.entered_by or sender[:_LONGEST_PERSON],
            25: _status(site, step),
        },
    )
    if event.priority is not None and site.hl7.version in _TIMED_BY_TQ1:
        message.add("TQ1", {1: "1", 6: [minutes, "min"] if minutes else None, 7: start, 8: end, 9: event.priority})
    _add_patient(message, patient, link)
    message.add("RGS", {1: "1", 2: "A"})
    zone = site.facilities[link.facility].zone
    for number, (study, coded) in enumerate(zip(link.studies, studies, strict=True), 1):
        begin, _, length = _times_of(link, study, zone)
        units = ["min", "minutes", "ISO+"] if length else None
        message.add("AIS", {1: number, 2: "A", 3: coded, 4: begin, 7: length, 8: units})
    is_short = message.fitted(link.resource, _TWICE_A_RESOURCE) == link.resource
    resource = [link.resource, link.resource] if is_short else link.resource
    modality = [None, _UNKNOWN] if link.modality is None else message.fitted(link.modality, _LONGEST_TEXT)
    message.add("AIG", {1: "1", 2: "A", 3: resource, 4: modality})
    message.add("AIL", {1: "1", 2: "A", 3: [None, None, None, link.facility], 4: _CLINIC})


def _add_order(message: Message, site: SiteFile, link: AppointmentLink, patient: Patient, event: _Event) -> None:
    step, control = event.step, event.orm
    zone = site.facilities[link.facility].zone
    receiver, field = site.hl7.receiving_application, site.hl7.orm_resource_field
    placer = [link.placer_number, _assigner(link, site)]
    has_own_numbers = any(study.order_number for study in link.studies)
    modality = link.modality
    if modality is not None and message.fitted(modality, _LONGEST_MODALITY) != modality:
        modality = None
    _add_patient(message, patient, link)
    for number, study in enumerate(link.studies or (_NO_STUDY,), 1):
        known = [study.order_number] if has_own_numbers else link.accession_numbers[number - 1 : number]
        accession = [known[0], receiver] if known and known[0] else None
        begin, end, minutes = _times_of(link, study, zone)
        if begin is None and number == 1:
            begin, end, minutes = _times(link, zone)  # orders without any time make an appointment without a time
        required = site.hl7.version in _ORC_7_REQUIRED
        timing = _timing(minutes, begin, end, is_required=required, priority=event.priority)
        place = [None, None, None, link.facility]
        message.add("ORC", {1: control, 2: placer, 3: accession, 7: timing, 13: place, 16: _status(site, step)})
        coded = _study(message, study)
        message.add("OBR", {1: number, 2: placer, 3: accession, 4: coded, 24: modality, 27: timing})
        if field.startswith("OBR-"):
            message.set(field.replace("OBR-", f"OBR[{number}]-"), link.resource)
    if control == "CA" and link.reason:
        message.add("NTE", {1: "1", 3: link.reason})


def _study(message: Message, study: Study) -> list[str | None]:
    return _coded(message, study.code, study.description or (None if study.code else _UNKNOWN), "99STUDYTYPE")


def _coded(message: Message, code: str, text: str | None, system: str) -> list[str | None]:
    """A CE. Its code is never cut; the text takes the rest of the field's length."""
    room = _LONGEST_TEXT - len(system) - message.length(code) - 2
    return [code or None, message.fitted(text, max(room, 0)) if text else None, system]


def _timing(
    minutes: str | None, start: str | None, end: str | None, *, is_required: bool, priority: str | None = None
) -> list[str | None] | None:
    """A TQ; without a known time, in a required field, "once", which is HL7's default."""
    if priority is not None:
        return [None, None, minutes, start, end, priority]
    if start or minutes:
        return [None, None, minutes, start, end]
    return ["1"] if is_required else None


def _status(site: SiteFile, step: WorkflowStep) -> list[str]:
    value, name = site.status_of_step[step]
    return [str(value), name, "99PS"]


def _times_of(link: AppointmentLink, study: Study, zone: ZoneInfo) -> tuple[str | None, str | None, str | None]:
    """Start, end and minutes of one study: its own, those of the appointment with one study, or none."""
    if study.start is None and study.minutes is None:
        return _times(link, zone) if len(link.studies) <= 1 else (None, None, None)
    begin = None if study.start is None else format_timestamp(study.start.astimezone(zone))
    end = None if study.end is None else format_timestamp(study.end.astimezone(zone))
    return begin, end, None if study.minutes is None else str(study.minutes)


def _times(link: AppointmentLink, zone: ZoneInfo) -> tuple[str | None, str | None, str | None]:
    if link.slot is None:
        return None, None, None
    start, end = link.slot.start.astimezone(zone), link.slot.end.astimezone(zone)
    return format_timestamp(start), format_timestamp(end), str(link.slot.minutes)


def _add_patient(message: Message, patient: Patient, link: AppointmentLink) -> None:
    first = patient.identifiers[0]
    is_oid = _OID.fullmatch(first.issuer) is not None
    identifier = [first.value, None, None, [None, first.issuer, "ISO"] if is_oid else first.issuer]
    has_name = patient.family or patient.given or patient.middle
    pid = message.add(
        "PID",
        {
            1: "1",
            3: identifier,
            5: [patient.family, patient.given, patient.middle] if has_name else _NO_NAME,
            7: patient.birth_date.strftime("%Y%m%d") if patient.birth_date else None,
            8: patient.sex,
        },
    )
    if len(pid.raw("3") or "") <= (_LONGEST_PID_2_IN_2_3 if message.version == "2.3" else _LONGEST_PID_2):
        pid.set("2", identifier)  # it only repeats PID-3
    message.add("PV1", {1: "1", 2: "O", 3: [None, None, None, link.facility]})
