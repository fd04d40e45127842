"""Writes an appointment's status, or a patient's request, as HL7: SIU, or ORM where the site's profile says so.

The site's mapping says where each value stands. The bytes are made once, in the transaction of the decision, and kept
in the delivery: a repeat is the same message with the same MSH-10, by which PowerServer detects it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from chassis.hl7 import control_id
from hl7v2 import Message, format_timestamp
from scheduler_sync.adapters.powerserver.draft import Draft, Text
from scheduler_sync.adapters.powerserver.values import OWN_CODES
from scheduler_sync.domain.appointment import AppointmentLink, Study, WorkflowStep, requests
from scheduler_sync.domain.patient import Patient
from scheduler_sync.domain.slots import Slot
from scheduler_sync.mapping import OrmValues, Places, SiuValues
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
_MINUTES: Final = ["min", "minutes", "ISO+"]
_UNKNOWN: Final = "not known"
_NO_STUDY: Final = Study("", "")
"""The one order of an appointment without studies: an ORM without an order would carry no status."""
_OID: Final = re.compile(r"[0-2](?:\.\d+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Saying:
    """What a message says of an appointment. ``slot`` is the one that it names, ``reason`` that of a cancellation.

    ``event`` is the SIU event, ``control`` the order control. ``word`` stands in SCH-6, which HL7 requires.
    """

    step: WorkflowStep
    event: str
    control: str
    slot: Slot | None
    word: str
    reason: str | None = None
    priority: str | None = None
    is_whole_patient: bool = False


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
        is_off = step is WorkflowStep.CANCELLED
        saying = Saying(
            step,
            event=_SIU_EVENT.get(step, "S14"),
            control="CA" if is_off else "SC",
            slot=link.slot,
            word=step.value.upper(),
            reason=link.reason if is_off else None,
        )
        return self._message(saying, link, patient, control_id, made_at)

    def cancel_message(self, link: AppointmentLink, patient: Patient, *, control_id: str, made_at: datetime) -> bytes:
        """S15 or CA, with the link's reason."""
        return self.status_message(link, patient, WorkflowStep.CANCELLED, control_id=control_id, made_at=made_at)

    def request_message(self, link: AppointmentLink, patient: Patient, *, control_id: str, made_at: datetime) -> bytes:
        """S12 or NW: the patient asks for an appointment at the requested slot, else at the link's slot.

        The status is SCHEDULED, with the site's priority of requests. The message carries the whole patient, whom
        PowerServer may not know.
        """
        saying = Saying(
            WorkflowStep.SCHEDULED,
            event="S12",
            control="NW",
            slot=link.requested_slot or link.slot,
            word="REQUESTED",
            priority=self._site().mapping.request_priority,
            is_whole_patient=True,
        )
        return self._message(saying, link, patient, control_id, made_at)

    def move_message(self, link: AppointmentLink, patient: Patient, *, control_id: str, made_at: datetime) -> bytes:
        """S13 or XO: the patient asks for the requested slot; the link's slot stays booked until staff answer.

        The status is SCHEDULED, with the site's priority of requests, which marks it as a wish and not as a move.
        """
        saying = Saying(
            WorkflowStep.SCHEDULED,
            event="S13",
            control="XO",
            slot=link.requested_slot or link.slot,
            word="MOVE REQUESTED",
            priority=self._site().mapping.request_priority,
        )
        return self._message(saying, link, patient, control_id, made_at)

    def _message(
        self, saying: Saying, link: AppointmentLink, patient: Patient, control_id: str, made_at: datetime
    ) -> bytes:
        site = self._site()
        hl7, facility = site.hl7, site.facilities[link.facility]
        is_orm = hl7.send == "orm"
        kind = "ORM^O01" if is_orm else f"SIU^{saying.event}"
        if hl7.version in _STRUCTURE_NAMED:
            kind += "^ORM_O01" if is_orm else "^SIU_S12"
        message = Message.new(
            version=hl7.version,
            type=kind,
            control_id=control_id,
            sending=(hl7.sending_application, hl7.sending_facility or site.site.upper()),
            receiving=(hl7.receiving_application, site.mapping.powerserver.facility or link.facility),
            at=made_at.astimezone(facility.zone),
            charset=_CHARSET,
        )
        (_Orders if is_orm else _Appointment)(message, site, link, patient, saying).write()
        return message.to_bytes()


def assigner(link: AppointmentLink, site: SiteFile) -> str:
    """The assigner of the placer number: the suite made the numbers of what patients ask for."""
    is_ours = requests.is_ours(link.placer_number)
    return site.hl7.sending_application if is_ours else site.hl7.receiving_application


class _Writing:
    """One message while it is written: the draft, and the places of the site's mapping."""

    values: SiuValues | OrmValues
    family: str

    def __init__(
        self, message: Message, site: SiteFile, link: AppointmentLink, patient: Patient, saying: Saying
    ) -> None:
        self.message, self.site, self.link, self.patient, self.saying = message, site, link, patient, saying
        self.version = site.hl7.version
        self.zone = site.facilities[link.facility].zone
        self.draft = Draft(self.family)

    def put(self, places: Places, value: Text | list[Text], study: int = 0) -> None:
        self.draft.put(places.written(self.version), value, study)

    def put_patient(self) -> None:
        """PID and PV1. The e-mail address and the other details of a person go with a request alone."""
        patient, pid = self.patient, self.draft.fields("PID")
        first = patient.identifiers[0]
        is_oid = _OID.fullmatch(first.issuer) is not None
        pid[1] = "1"
        identifier = [first.value, None, None, [None, first.issuer, "ISO"] if is_oid else first.issuer]
        pid[3] = identifier
        has_name = patient.family or patient.given or patient.middle
        pid[5] = [patient.family, patient.given, patient.middle] if has_name else _NO_NAME
        pid[7] = patient.birth_date.strftime("%Y%m%d") if patient.birth_date else None
        pid[8] = patient.sex
        encoded = self.message.length(first.value) + self.message.length(first.issuer) + (8 if is_oid else 3)
        if encoded <= (_LONGEST_PID_2_IN_2_3 if self.version == "2.3" else _LONGEST_PID_2):
            pid[2] = identifier  # it only repeats PID-3
        if self.saying.is_whole_patient:
            address = patient.address
            if address is not None:
                pid[11] = [
                    address.line, None, address.city, address.state, address.postal_code, address.country
                ]  # fmt: skip
            if patient.phone:
                pid[13] = [patient.phone, "PRN", "PH"]
            self.put(self.values.email, patient.email)
            pid[15] = patient.language
        self.put(self.values.time_zone, self.zone.key)
        visit = self.draft.fields("PV1")
        visit[1], visit[2] = "1", "O"
        physician = self.link.referring_physician
        if physician is not None:
            told = [physician.number, physician.family or None, physician.given or None, physician.middle]
            self.put(self.values.referring_physician, [*told, None, None, None, None, physician.issuer])

    def status(self) -> list[Text]:
        value, name = self.site.status_of_step[self.saying.step]
        return [str(value), name, "99PS"]

    def order_status(self) -> str | None:
        """The site's first code for the step, such as CM."""
        step = self.saying.step.value
        return next((code for code, meant in self.site.hl7.order_statuses.items() if str(meant) == step), None)

    def study(self, study: Study) -> list[Text]:
        return self.coded(study.code, study.description or (None if study.code else _UNKNOWN), "99STUDYTYPE")

    def coded(self, code: str, text: str | None, system: str) -> list[Text]:
        """A CE. Its code is never cut; the text takes the rest of the field's length."""
        message = self.message
        room = _LONGEST_TEXT - len(system) - message.length(code) - 2
        return [code or None, message.fitted(text, max(room, 0)) if text else None, system]

    def times(self) -> tuple[Text, Text, Text]:
        """Start, end and minutes of the slot that the message names."""
        slot = self.saying.slot
        if slot is None:
            return None, None, None
        start, end = slot.start.astimezone(self.zone), slot.end.astimezone(self.zone)
        return format_timestamp(start), format_timestamp(end), str(slot.minutes)

    def times_of(self, study: Study) -> tuple[Text, Text, Text]:
        """Start, end and minutes of one study: its own, those of the appointment with one study, or none.

        A study's own start is that of the link's slot; at another slot it is not known.
        """
        if (study.start is None and study.minutes is None) or self.saying.slot != self.link.slot:
            return self.times() if len(self.link.studies) <= 1 else (None, None, None)
        begin = None if study.start is None else format_timestamp(study.start.astimezone(self.zone))
        end = None if study.end is None else format_timestamp(study.end.astimezone(self.zone))
        return begin, end, None if study.minutes is None else str(study.minutes)


class _Appointment(_Writing):
    """SIU."""

    family = "siu"

    @property
    def values(self) -> SiuValues:  # type: ignore[override]
        return self.site.mapping.siu

    def write(self) -> None:
        link, site, saying, values = self.link, self.site, self.saying, self.values
        receiver, sender = site.hl7.receiving_application, site.hl7.sending_application
        start, end, minutes = self.times()
        sch = self.draft.fields("SCH")
        sch[1] = [link.placer_number, assigner(link, self.site)]
        sch[2] = [link.filler_id, receiver] if link.filler_id else None
        sch[6] = [saying.word, None, OWN_CODES]
        sch[16] = site.hl7.filler_contact or receiver[:_LONGEST_PERSON]
        sch[20] = site.hl7.entered_by or sender[:_LONGEST_PERSON]
        self.put_patient()
        self.put(values.start, start)
        self.put(values.end, end)
        self.put(values.minutes, minutes)
        self.put_reason()
        self.put(values.status, self.status())
        self.put(values.order_status, self.order_status())
        self.put(values.priority, saying.priority)
        if sch.get(9):
            sch[10] = _MINUTES
        if not sch.get(11) and self.version in _SCH_11_REQUIRED:
            sch[11] = ["1"]
        self.put(values.facility, link.facility)
        group, place = self.draft.fields("AIG"), self.draft.fields("AIL")
        group[1], group[2], place[1], place[2], place[4] = "1", "A", "1", "A", _CLINIC
        for number, study in enumerate(link.studies):
            self.put_study(number, study)
        of_studies = (values.study, values.study_start, values.study_minutes, values.study_uid)
        self.draft.number_sites(
            [place for some in of_studies for place in some.written(self.version)], len(link.studies)
        )
        resource = self.message.fitted(link.resource, _TWICE_A_RESOURCE) == link.resource
        for one in values.resource.written(self.version):
            is_twice = one.name == "AIG-3" and resource
            self.draft.put([one], [link.resource, link.resource] if is_twice else link.resource)
        if link.modality is not None:
            self.put(values.modality, self.message.fitted(link.modality, _LONGEST_TEXT))
        if not group.get(4):
            group[4] = [None, _UNKNOWN]
        self.draft.add_to(self.message)

    def put_reason(self) -> None:
        """The whole field SCH-6 takes the reason beside the suite's own word."""
        if self.saying.reason is None:
            return
        for one in self.values.reason.written(self.version):
            if one.name == "SCH-6":
                self.draft.put([one], self.coded(self.saying.word, self.saying.reason, OWN_CODES))
            else:
                if one.segment == "NTE":
                    self.draft.fields("NTE")[1] = "1"
                self.draft.put([one], self.saying.reason)

    def put_study(self, number: int, study: Study) -> None:
        values = self.values
        service = self.draft.fields("AIS", number)
        service[1], service[2] = str(number + 1), "A"
        begin, _, length = self.times_of(study)
        self.put(values.study, self.study(study), number)
        self.put(values.study_start, begin, number)
        self.put(values.study_minutes, length, number)
        self.put(values.study_uid, study.study_uid, number)
        if service.get(7):
            service[8] = _MINUTES
        service.setdefault(3, [None, _UNKNOWN])
        known = study.order_number or next(iter(self.link.accession_numbers[number : number + 1]), None)
        self.put(values.accession_number, known, number)


class _Orders(_Writing):
    """ORM: an order for each study."""

    family = "orm"

    @property
    def values(self) -> OrmValues:  # type: ignore[override]
        return self.site.mapping.orm

    def write(self) -> None:
        self.put_patient()
        studies = self.link.studies or (_NO_STUDY,)
        for number, study in enumerate(studies):
            self.put_order(number, study)
        if self.saying.control == "CA" and self.saying.reason:
            last = len(studies) - 1
            if any(one.segment == "NTE" for one in self.values.reason.written(self.version)):
                self.draft.fields("NTE", last)[1] = "1"
            self.put(self.values.reason, self.saying.reason, last)
        self.draft.add_to(self.message)

    def put_order(self, number: int, study: Study) -> None:
        link, values, saying = self.link, self.values, self.saying
        receiver = self.site.hl7.receiving_application
        placer = [link.placer_number, assigner(link, self.site)]
        has_own_numbers = any(one.order_number for one in link.studies)
        known = [study.order_number] if has_own_numbers else link.accession_numbers[number : number + 1]
        begin, end, minutes = self.times_of(study)
        if begin is None and number == 0:
            begin, end, minutes = self.times()  # orders without any time make an appointment without a time
        orc, obr = self.draft.fields("ORC", number), self.draft.fields("OBR", number)
        orc[1], orc[2], obr[1], obr[2] = saying.control, placer, str(number + 1), placer
        if known and known[0]:
            self.put(values.accession_number, [known[0], receiver], number)
        self.put(values.study, self.study(study), number)
        obr.setdefault(4, [None, _UNKNOWN])
        self.put(values.study_uid, study.study_uid, number)
        self.put(values.study_start, begin, number)
        self.put(values.study_end, end, number)
        self.put(values.study_minutes, minutes, number)
        self.put(values.priority, saying.priority, number)
        self.put(values.facility, link.facility, number)
        self.put(values.status, self.status(), number)
        self.put(values.order_status, self.order_status(), number)
        self.put(values.resource, link.resource, number)
        modality = link.modality
        if modality is not None and self.message.fitted(modality, _LONGEST_MODALITY) == modality:
            self.put(values.modality, modality, number)
        if self.version in _ORC_7_REQUIRED:
            for fields, timing in ((orc, 7), (obr, 27)):
                if not fields.get(timing):
                    fields[timing] = ["1"]
