"""HL7 v2.3.1 as PowerServer writes it: SIU (chapter 10), ORM (chapter 4), ADT (chapter 3). Pure, returns wire bytes.

The order's status travels as `order value^site's name^99PS`; times are the facility's wall clock with numeric offset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from hl7v2 import Message, format_timestamp
from powerserver_sim import rules
from powerserver_sim.worklist.orders import study_uid

VERSION: Final = "2.3.1"
APPLICATION: Final = "RAMSOFT"
PARTNER: Final = ("SUITE", "NORTHSIDE")
CHARSET: Final = "UNICODE UTF-8"


@dataclass(frozen=True, slots=True)
class PatientView:
    """A patient's data for PID."""

    patient_id: str
    issuer: str
    family: str
    given: str
    middle: str
    birth_date: str
    sex: str
    email: str
    phone: str
    street: str
    city: str
    state: str
    postal_code: str
    country: str


@dataclass(frozen=True, slots=True)
class StudyView:
    """One study of an order; `minutes` is its booked length."""

    position: int
    accession: str
    code: str
    description: str
    modality: str
    minutes: int


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with the data of its messages; without a start it has no resource either."""

    number: int
    placer: str
    off_reason: str
    facility: str
    zone: ZoneInfo
    resource: str | None
    department: str
    room: str
    modality: str
    start: datetime | None
    end: datetime | None
    status: int
    status_name: str
    priority: str
    physician: tuple[str, str, str]
    patient: PatientView
    studies: Sequence[StudyView]

    @property
    def minutes(self) -> int:
        return sum(study.minutes for study in self.studies)


def siu(view: OrderView, trigger: str, control_id: str, at: datetime) -> bytes:
    """SIU^S12…S26 about an appointment."""
    if view.start is None or view.end is None or view.resource is None:
        raise ValueError("SIU is about an appointment with a start")
    start, end = format_timestamp(view.start), format_timestamp(view.end)
    message = begun(f"SIU^{trigger}", view.facility, view.zone, control_id, at)
    first = view.studies[0]
    message.add(
        "SCH",
        {
            1: [view.placer, APPLICATION],
            2: [f"A{view.number}", APPLICATION],
            6: ["", view.off_reason] if _is_off(view) and view.off_reason else "",
            7: _study_type(first),
            9: str(view.minutes),
            10: ["min", "minutes", "ISO+"],
            11: ["", "", str(view.minutes), start, end],
            25: _status(view),
        },
    )
    _add_patient(message, view.patient)
    _add_visit(message, view)
    message.add("RGS", {1: "1", 2: "A"})
    begins = view.start
    for study in view.studies:
        message.add(
            "AIS",
            {
                1: str(study.position),
                2: "A",
                3: _study_type(study),
                4: format_timestamp(begins),
                7: str(study.minutes),
                8: "min",
            },
        )
        begins = _later(begins, study.minutes)
    message.add("AIG", {1: "1", 2: "A", 3: [view.resource, view.resource], 4: view.modality})
    message.add("AIL", {1: "1", 2: "A", 3: _place(view)})
    return message.to_bytes()


@dataclass(frozen=True, slots=True)
class BlockView:
    """One reserved time of a resource."""

    number: str
    facility: str
    zone: ZoneInfo
    resource: str
    modality: str
    start: datetime
    end: datetime
    purpose: str


def blocked(block: BlockView, trigger: str, control_id: str, at: datetime) -> bytes:
    """SIU^S23 (the time is blocked) or S24 (it is opened): without a patient."""
    message = begun(f"SIU^{trigger}", block.facility, block.zone, control_id, at)
    minutes = int((block.end - block.start).total_seconds() // 60)
    message.add(
        "SCH",
        {
            1: [block.number, APPLICATION],
            2: [block.number, APPLICATION],
            6: ["", block.purpose],
            9: str(minutes),
            10: ["min", "minutes", "ISO+"],
            11: ["", "", str(minutes), format_timestamp(block.start), format_timestamp(block.end)],
            25: ["BLOCKED", "Blocked"],
        },
    )
    message.add("RGS", {1: "1", 2: "A"})
    message.add("AIG", {1: "1", 2: "A", 3: [block.resource, block.resource], 4: block.modality})
    return message.to_bytes()


def orm(view: OrderView, order_control: str, control_id: str, at: datetime) -> bytes:
    """ORM^O01: one ORC/OBR/ZDS group a study, all under the appointment's placer number."""
    message = begun("ORM^O01", view.facility, view.zone, control_id, at)
    _add_patient(message, view.patient)
    _add_visit(message, view)
    timing = ["", "", str(view.minutes)]
    if view.start is not None and view.end is not None:
        timing += [format_timestamp(view.start), format_timestamp(view.end)]
    else:
        timing += ["", ""]
    timing.append(view.priority)
    for study in view.studies:
        placer, accession = [view.placer, APPLICATION], [study.accession, APPLICATION]
        message.add(
            "ORC",
            {
                1: order_control,
                2: placer,
                3: accession,
                5: _order_status(view),
                7: timing,
                9: format_timestamp(at.astimezone(view.zone)),
                12: list(view.physician) if view.physician[0] else "",
                13: _place(view),
                16: _status(view),
            },
        )
        message.add(
            "OBR",
            {
                1: str(study.position),
                2: placer,
                3: accession,
                4: _study_type(study),
                19: view.resource or "",
                24: study.modality,
                27: timing,
            },
        )
        message.add("ZDS", {1: [study_uid(view.number, study.position), APPLICATION, "Application", "DICOM"]})
    if _is_off(view) and view.off_reason:
        message.add("NTE", {1: "1", 3: view.off_reason})
    return message.to_bytes()


def _is_off(view: OrderView) -> bool:
    return view.status in rules.GIVES_SLOT_BACK


def adt(
    patient: PatientView,
    *,
    facility: str,
    zone: ZoneInfo,
    trigger: str,
    control_id: str,
    at: datetime,
    ended: tuple[str, str] | None = None,
) -> bytes:
    """ADT^A04 or A28 (new), A08 or A31 (changed), A40 (merged; `ended`: the other record, by id and issuer)."""
    message = begun(f"ADT^{trigger}", facility, zone, control_id, at)
    message.add("EVN", {1: trigger, 2: format_timestamp(at.astimezone(zone))})
    _add_patient(message, patient)
    if ended is not None:
        message.add("MRG", {1: [ended[0], "", "", ended[1]]})
        return message.to_bytes()
    message.add("PV1", {1: "1", 2: "O"})
    return message.to_bytes()


def begun(kind: str, facility: str, zone: ZoneInfo, control_id: str, at: datetime) -> Message:
    """A message with its MSH."""
    return Message.new(
        version=VERSION,
        type=kind,
        control_id=control_id,
        sending=(APPLICATION, facility),
        receiving=PARTNER,
        at=at.astimezone(zone),
        charset=CHARSET,
    )


def _add_patient(message: Message, patient: PatientView) -> None:
    identifier = [patient.patient_id, "", "", patient.issuer]
    name = [patient.family, patient.given] + ([patient.middle] if patient.middle else [])
    address = [patient.street, "", patient.city, patient.state, patient.postal_code, patient.country]
    fields: dict[int, str | list[str]] = {
        1: "1",
        2: identifier,
        3: identifier,
        5: name,
        7: patient.birth_date.replace("-", ""),
        8: patient.sex,
        18: f"ACC{patient.patient_id}",
    }
    if any(address):
        fields[11] = address
    if patient.phone or patient.email:
        fields[13] = [patient.phone, "PRN", "PH"] + ([patient.email] if patient.email else [])
    message.add("PID", fields)


def _add_visit(message: Message, view: OrderView) -> None:
    fields: dict[int, str | list[str]] = {1: "1", 2: "O", 3: _place(view), 19: f"V{view.number}"}
    if view.physician[0]:
        fields[8] = list(view.physician)
    message.add("PV1", fields)


def _place(view: OrderView) -> list[str]:
    return [view.department, view.room, "", view.facility]


def _study_type(study: StudyView) -> list[str]:
    return [study.code, study.description, "99STUDYTYPE"]


def _status(view: OrderView) -> list[str]:
    return [str(view.status), view.status_name, "99PS"]


def _order_status(view: OrderView) -> str:
    """ORC-5 (HL7 table 0038) next to the site's own status in ORC-16."""
    if view.status in rules.GIVES_SLOT_BACK:
        return "CA"
    if view.status >= rules.COMPLETED:
        return "CM"
    return "IP" if view.start is None else "SC"


def _later(begins: datetime, minutes: int) -> datetime:
    # Through UTC: wall-clock arithmetic is an hour wrong over a clock change.
    seconds = begins.timestamp() + minutes * 60
    return datetime.fromtimestamp(seconds, begins.tzinfo)
