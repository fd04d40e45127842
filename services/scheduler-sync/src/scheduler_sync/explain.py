"""Explains what a message of PowerServer would do, and why: ``python -m scheduler_sync explain FILE.hl7``.

It uses the service's reader and stores nothing: no journal, no effect. It does not look at the known patient, so it
cannot detect repeats. Its output holds patient data, which the user has in the file
already. It goes to standard output and to no log.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chassis.errors import NeedsSetup, Permanent, Transient
from chassis.hl7 import InboundHl7, refusal
from chassis.hl7 import answers as hl7_answers
from hl7v2 import AckCode, Hl7Error, Message, Segment
from scheduler_sync.adapters.powerserver import coverage, master_files, reader, stations, table
from scheduler_sync.adapters.powerserver.table import SET_IDS, FieldRule
from scheduler_sync.commands import (
    BlockTime,
    ChangeAppointmentByStaff,
    ChangePatientByStaff,
    DeletePatient,
    Merge,
    MergePatients,
    TakeGridRows,
)
from scheduler_sync.domain.appointment import (
    AppointmentLink,
    Decision,
    Refusal,
    StaffFacts,
    State,
    Trigger,
    report_of,
    transition,
)
from scheduler_sync.domain.patient import UNSAID, Address, PatientFacts
from scheduler_sync.domain.resource import Resource
from scheduler_sync.ports import Resources
from scheduler_sync.site import SiteFile

MEANINGS: Final[Mapping[str, str]] = {
    "SIU^S12": "a booking",
    "SIU^S13": "an appointment that is moved",
    "SIU^S14": "an appointment that is changed",
    "SIU^S15": "an appointment that is cancelled",
    "SIU^S23": "a time of a resource that is blocked",
    "SIU^S24": "a blocked time that is opened",
    "SIU^S26": "a patient who did not come",
    "ORM^O01": "orders of one appointment",
    "ADT^A04": "a patient who is registered",
    "ADT^A08": "a patient who is changed",
    "ADT^A28": "a person who is added",
    "ADT^A31": "a person who is changed",
    "ADT^A39": "records of one person that are merged",
    "ADT^A40": "records of one person that are merged",
    "ADT^A23": "a record that is deleted",
    "MFN^M05": "resources of PowerServer",
    "MFN^M01": "resources of PowerServer",
}
_LONGEST_SHOWN: Final = 200
_NOT_LOOKED_UP: Final = (
    "Resource names were not looked up, because the store did not answer: "
    "the service answers AE for one that OmegaAI does not have."
)


@dataclass(frozen=True, slots=True)
class FieldRead:
    """A component of a field: its place, its value, and its position: segment and byte, from 1 and 0 on.

    ``gives`` is the fact that it is read for, by ``rule``; both are empty for an ignored component, with ``why``.
    """

    place: str
    value: str
    segment: int
    byte: int
    gives: str = ""
    rule: str = ""
    why: str = ""
    decided: str = ""
    """The mapping's key that looks here, with the file and line that say it: ``siu.resource (site.hl7.yaml:12)``."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A field of a segment as it stands, and what it is read for; ``gives`` is empty for one that is not read."""

    text: str
    gives: str = ""


@dataclass(frozen=True, slots=True)
class DecisionIn:
    """What the message's news does to an appointment in one state. ``refusal`` is the reason of a conflict."""

    state: str
    becomes: str
    publishes: str = ""
    tells: tuple[str, ...] = ()
    only_if_changed: bool = False
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """The kind of a message, its reading, and its answer. ``setting`` is the missing setting."""

    message: str
    meaning: str
    code: AckCode
    text: str
    setting: str | None
    fields: tuple[FieldRead, ...]
    ignored: tuple[FieldRead, ...]
    effect: Mapping[str, Any]
    remarks: tuple[str, ...]
    trigger: str | None = None
    """The news for the table of moves; None for a message about no appointment."""
    decisions: tuple[DecisionIn, ...] = ()
    segments: tuple[tuple[Piece, ...], ...] = ()
    command: "reader.Command | None" = None

    @property
    def is_taken(self) -> bool:
        """Whether the message would have its whole effect: no part is refused, and no part waits."""
        return self.code == "AA" and self.setting is None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(replace(self, command=None)).items() if name != "command"}


class ResourcesNotRead:
    """Replaces OmegaAI's resources where they are not known: every name is a resource, without a usual length."""

    def named(self, facility: str, name: str) -> Resource:
        return Resource(UUID(int=0), facility, name, None, "")

    def of_service(self, healthcare_service_id: str) -> Resource | None:
        del healthcare_service_id
        return None


def explain(raw: bytes, site: SiteFile, resources: Resources | None, *, received_at: datetime) -> Explanation:
    """Reads ``raw`` as the service would.

    ``resources`` is None where they are not known. Hl7Error when it is not HL7.
    """
    item = InboundHl7.of(raw, received_at)
    message, passed_over = item.message, reader.PassedOver()
    command: reader.Command | None = None
    grid: TakeGridRows | None = None
    code: AckCode = "AA"
    text, setting = "", None
    try:
        if site.hl7.acknowledgement == "as-asked":
            hl7_answers.check(message)
        if (not_permitted := stations.refused(message, site.mapping)) is not None:
            raise not_permitted[1]
        known = ResourcesNotRead() if resources is None else resources
        if master_files.is_one(message):
            grid = master_files.read(message, site, received_at=received_at)
        else:
            command = reader.read(message, site, known, received_at=received_at, passed_over=passed_over)
    except Hl7Error as error:
        code, text = "AR", str(error)
    except (Permanent, Transient) as error:
        code, text, _ = refusal(error)
        setting = error.setting if isinstance(error, NeedsSetup) else None
    if isinstance(command, ChangeAppointmentByStaff) and command.waits_for is not None:
        text = f"its effect is had, and it waits as well: {command.waits_for.reason}"
        setting = command.waits_for.setting
    name = "^".join(filter(None, (message.type, message.trigger or ("O01" if message.type == "ORM" else ""))))
    is_asked = site.hl7.acknowledgement == "as-asked"
    answered = hl7_answers.wanted(message, code) if is_asked else code
    remarks = [_NOT_LOOKED_UP] if resources is None else []
    if answered != code:
        wish = "is not answered" if answered is None else f"is answered {answered}"
        remarks.append(f"By its MSH-15 and MSH-16 the message {wish} in place of {code}.")
    fields, ignored = _fields(raw, message, site, passed_over)
    trigger = _trigger(command.appointment) if isinstance(command, ChangeAppointmentByStaff) else None
    return Explanation(
        message=name,
        meaning=_meaning(name, command),
        code=code,
        text=text,
        setting=setting,
        fields=tuple(fields),
        ignored=tuple(ignored),
        effect=_grid_effect(grid) if grid is not None else {} if command is None else _effect(command, site),
        remarks=tuple(remarks),
        trigger=None if trigger is None else trigger.value,
        decisions=() if trigger is None else tuple(_decision(state, trigger) for state in State),
        segments=_marked(message, site),
        command=command,
    )


def _meaning(name: str, command: reader.Command | None) -> str:
    """A blocked time may come as another event."""
    if isinstance(command, BlockTime):
        name = "SIU^S24" if command.slot is None else "SIU^S23"
    return MEANINGS.get(name, "no message that is taken")


def _trigger(facts: StaffFacts) -> Trigger:
    return Trigger.STAFF_UPDATED if facts.step is None else report_of(facts.step)


def _decision(state: State, trigger: Trigger) -> DecisionIn:
    move = transition(state, trigger)
    if isinstance(move, Refusal):
        return DecisionIn(state.value, state.value, refusal=move.why)
    return DecisionIn(
        state.value,
        move.to.value,
        publishes=move.announces.value if move.announces is not None else "",
        tells=tuple(sorted(system.value for system in move.tells)),
        only_if_changed=move.only_if_changed,
    )


def decided(link: AppointmentLink, command: ChangeAppointmentByStaff) -> Decision:
    """What the message would do to an appointment that is known. It changes nothing."""
    return link.hear_powerserver(command.appointment, said_at=command.said_at, latest=command.latest(command.said_at))


def _marked(message: Message, site: SiteFile) -> tuple[tuple[Piece, ...], ...]:
    """Each segment in its fields, with what each field is read for."""
    rules = _rules(message.type, site)
    lines = []
    for segment in message.segments():
        text = segment.to_bytes().decode(message.working_codec, "replace").rstrip("\r\n")
        separator = segment.delimiters.field.decode("ascii", "replace")
        pieces = [Piece(one) for one in text.split(separator)] if separator else [Piece(text)]
        first = 1 if segment.id in {"MSH", "FHS", "BHS"} else 0
        for place, piece in enumerate(pieces):
            rule = rules.get((segment.id, place + first)) if place else None
            if rule is not None and piece.text:
                pieces[place] = Piece(piece.text, rule.of)
        lines.append(tuple(pieces))
    return tuple(lines)


def _keys(message_type: str, site: SiteFile) -> dict[tuple[str, int], list[tuple[int | None, str]]]:
    """For each field the mapping's keys that look there: the component, and the key with its line."""
    family = message_type.lower()
    if family not in {"siu", "orm"}:
        return {}
    values = site.mapping.siu if family == "siu" else site.mapping.orm
    found: dict[tuple[str, int], list[tuple[int | None, str]]] = {}
    for name, places in values.each():
        for place in places.looked_for:
            said = f"{family}.{name} ({site.mapping.source(family, name)})"
            found.setdefault((place.segment, place.field), []).append((place.component, said))
    return found


def _decided_by(keys: Sequence[tuple[int | None, str]], place: str) -> str:
    """The keys that look at a component such as ``SCH-11.4``; a key for the whole field looks at every one."""
    _, dot, number = place.partition("-")[2].partition(".")
    component = int(number.partition(".")[0]) if dot and number.partition(".")[0].isdecimal() else 1
    return ", ".join(said for wanted, said in keys if wanted is None or wanted == component)


def _fields(
    raw: bytes, message: Message, site: SiteFile, passed_over: reader.PassedOver
) -> tuple[list[FieldRead], list[FieldRead]]:
    rules, keys = _rules(message.type, site), _keys(message.type, site)
    read: list[FieldRead] = []
    unread: list[FieldRead] = []
    unread_keys: Counter[coverage.Key] = Counter()
    where = _Positions(raw, message)
    for number, segment in enumerate(message.segments(), 1):
        for field in segment.filled():
            rule = rules.get((segment.id, field))
            parts = _parts(segment, field, number, where)
            if rule is not None:
                looked = keys.get((segment.id, field), ())
                read += [
                    FieldRead(*part, gives=rule.of, rule=rule.rule, decided=_decided_by(looked, part[0]))
                    for part in parts
                ]
            elif not (field == 1 and segment.id in SET_IDS):
                unread += [FieldRead(*part, why="not read") for part in parts]
                unread_keys[coverage.key_of(segment.id, field)] += 1
    left = Counter(passed_over.keys) - unread_keys
    for (name, number_or_other), times in left.items():
        what = f"{name}-{number_or_other}"
        how_often = "" if times == 1 else f" ({times} times)"
        unread.append(FieldRead(what, "", 0, 0, why=f"read, and a value passed over{how_often}: see its rule"))
    return read, unread


def _rules(message_type: str, site: SiteFile) -> dict[tuple[str, int], FieldRule]:
    return {(rule.segment, number): rule for rule in table.rules(message_type, site.mapping) for number in rule.fields}


def _parts(segment: Segment, field: int, number: int, where: "_Positions") -> Iterator[tuple[str, str, int, int]]:
    """Each filled component of each repetition: its path, its text, its segment and its first byte."""
    written = segment.encoded(field)
    delimiters = segment.delimiters
    start = where.of_field(number, segment, field)
    name = f"{segment.id}-{field}"
    if segment.id == "MSH" and field <= 2:
        yield name, where.text(written), number, where.in_file(start)
        return
    repetitions = written.split(delimiters.repetition) if delimiters.repetition else [written]
    for repetition, whole in enumerate(repetitions, 1):
        which = f"[{repetition}]" if len(repetitions) > 1 else ""
        parts = whole.split(delimiters.component) if delimiters.component else [whole]
        at = start
        for component, part in enumerate(parts, 1):
            place = f"{name}{which}" + (f".{component}" if len(parts) > 1 else "")
            if part:
                path = f"{field}[{repetition}].{component}" if delimiters.subcomponent not in part else ""
                value = (segment.get(path) if path else None) or where.text(part)
                yield place, value, number, where.in_file(at)
            at += len(part) + len(delimiters.component)
        start += len(whole) + len(delimiters.repetition)


class _Positions:
    """Maps offsets of the parsed bytes to those of the file, which may have a wrapper or another character set."""

    def __init__(self, raw: bytes, message: Message) -> None:
        self._codec, self._working = message.codec, message.working_codec
        lines = [segment.to_bytes() for segment in message.segments()]
        self._starts = [0]
        for line in lines:
            self._starts.append(self._starts[-1] + len(line))
        self._body = b"".join(lines)
        self._base = raw.find(self._body)
        self._is_same = self._base >= 0
        if not self._is_same:
            if self._codec == "utf-16":
                self._codec = "utf-16-le" if raw[:2] in {b"\xff\xfe", b"M\x00"} else "utf-16-be"
            self._base = max(raw.find(self._encoded(len(self._body))), 0)

    def of_field(self, number: int, segment: Segment, field: int) -> int:
        """The offset of a field in the parsed bytes."""
        start = self._starts[number - 1]
        offset = 1 if segment.id in {"MSH", "FHS", "BHS"} else 0
        if field == 1 and offset:
            return start + 3
        line = segment.to_bytes()
        at = 0
        for _ in range(field - offset):
            at = line.index(segment.delimiters.field, at) + 1
        return start + at

    def in_file(self, at: int) -> int:
        if self._is_same:
            return self._base + at
        return self._base + len(self._encoded(at))

    def _encoded(self, until: int) -> bytes:
        return self._body[:until].decode(self._working, "ignore").encode(self._codec, "ignore")

    def text(self, written: bytes) -> str:
        return written.decode(self._working, "replace")


def _grid_effect(command: TakeGridRows) -> dict[str, Any]:
    """The resources, as the comparison with OmegaAI sees them."""
    shown = [f"{row.facility} {row.name or row.key!r}: {'on' if row.active else 'off'}" for row in command.rows]
    return {"resources": shown}


def _effect(command: reader.Command, site: SiteFile) -> dict[str, Any]:
    """The facts in the message, in the suite's words; unsaid facts are left out."""
    if isinstance(command, MergePatients):
        return {"made": command.said_at.isoformat(), "merges": [_of_merge(one) for one in command.merges]}
    if isinstance(command, BlockTime):
        return _of_block(command, site)
    if isinstance(command, ChangePatientByStaff | DeletePatient):
        said = {"made": command.said_at.isoformat(), **_of_person(command.patient)}
    else:
        said = {**_of_appointment(command, site), **_of_person(command.patient)}
    taken_away = {"second name", "birth date", "e-mail", "phone", "address"}
    return {
        name: _plain(value)
        for name, value in said.items()
        if value is not UNSAID and value != [] and (value is not None or name in taken_away)
    }


def _of_appointment(command: ChangeAppointmentByStaff, site: SiteFile) -> dict[str, Any]:
    facts = command.appointment
    zone = site.facilities[facts.facility].zone
    return {
        "placer number": command.placer_number,
        "made": command.said_at.astimezone(zone).isoformat(),
        "facility": facts.facility,
        "status": None if facts.step is None else facts.step.value,
        "resource": facts.resource,
        "modality": facts.modality,
        "start": None if facts.slot is None else facts.slot.start.astimezone(zone).isoformat(),
        "end": None if facts.slot is None else facts.slot.end.astimezone(zone).isoformat(),
        "studies": [one.code for one in facts.studies],
        "changes of studies": [f"{one.action.value} {one.study.code}".strip() for one in facts.study_changes],
        "filler id": facts.filler_id,
        "accession numbers": list(facts.accession_numbers),
        "reason": facts.reason,
        "deleted": sorted(facts.deleted),
    }


def _of_block(command: BlockTime, site: SiteFile) -> dict[str, Any]:
    zone, slot = site.facilities[command.facility].zone, command.slot
    said = {
        "number of the block": command.number,
        "made": command.said_at.astimezone(zone).isoformat(),
        "facility": command.facility,
        "blocked": "no: the time is opened" if slot is None else "yes",
        "resource": command.resource,
        "start": None if slot is None else slot.start.astimezone(zone).isoformat(),
        "end": None if slot is None else slot.end.astimezone(zone).isoformat(),
    }
    return {name: value for name, value in said.items() if value is not None}


def _of_merge(merge: Merge) -> str:
    former, kept = (
        ", ".join(f"{one.value} of {one.issuer}" for one in some) for some in (merge.former, merge.survivor.identifiers)
    )
    return f"{former} ended in {kept}"


def _of_person(person: PatientFacts) -> dict[str, Any]:
    address = person.address
    return {
        "patient's numbers": [f"{one.value} of {one.issuer}" for one in person.identifiers],
        "family name": person.family,
        "given name": person.given,
        "second name": person.middle,
        "birth date": person.birth_date,
        "sex": person.sex,
        "e-mail": person.email,
        "phone": person.phone,
        "language": person.language,
        "address": asdict(address) if isinstance(address, Address) else address,
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | list | dict) else str(value)


def lines(found: Explanation) -> Sequence[str]:
    """The text for people. The answer comes last, because readers look for it."""
    told = [f"{found.message}: {found.meaning}", ""]
    told += _table("Read", found.fields)
    told += _table("Ignored", found.ignored)
    if found.effect:
        told.append("The message says")
        told += [f"  {name:<20} {_shown(value)}" for name, value in found.effect.items()]
        told.append("")
    if found.decisions:
        told.append(f"What it does, as {found.trigger}, to an appointment in the state")
        told += [f"  {one.state:<16} {decision_words(one)}" for one in found.decisions]
        told.append("")
    told += found.remarks
    told.append(f"It would be answered {found.code}" + (f": {found.text}" if found.text else "") + ".")
    if found.setting is not None:
        told.append(f"To set: {found.setting}")
    return told


def decision_words(one: DecisionIn) -> str:
    """A decision in one line."""
    if one.refusal:
        return f"refused, a conflict: {one.refusal}"
    said = [f"stays {one.becomes}" if one.becomes == one.state else f"becomes {one.becomes}"]
    if one.publishes:
        said.append(f"publishes {one.publishes}")
    if one.tells:
        said.append(f"tells {', '.join(one.tells)}")
    return "; ".join(said) + (" (where a shown fact changes)" if one.only_if_changed and len(said) > 1 else "")


def _table(title: str, rows: Sequence[FieldRead]) -> list[str]:
    if not rows:
        return []
    told = [title]
    before = ""
    for one in rows:
        where = f"segment {one.segment}, byte {one.byte}" if one.segment else ""
        told.append(f"  {one.place:<14} {_shown(one.value):<40} {where}".rstrip())
        words = f"{one.gives}: {one.rule}" if one.rule else one.why
        if one.decided:
            words += f" [{one.decided}]"
        if words != before or not one.rule:
            told.append(f"  {'':<14} {words}")
        before = words
    return [*told, ""]


def _shown(value: Any) -> str:
    """On one line, whatever the value holds."""
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    if isinstance(value, dict):
        return ", ".join(_shown(one) for one in value.values() if one)
    if value is None:
        return "(deleted)"
    text = value if len(value) <= _LONGEST_SHOWN else f"{value[: _LONGEST_SHOWN - 1]}…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
