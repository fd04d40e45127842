"""Every field that is read, with its rule; ``docs/architecture/wire.md`` lists them.

Other fields are counted as ignored.

``null`` is the effect of the HL7 null (``""``): it ``deletes`` the value, or is ``none`` (as an empty field, because
the value cannot be deleted alone). An absent and an empty field leave the known value, everywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from scheduler_sync.mapping import Hl7Mapping


@dataclass(frozen=True, slots=True)
class FieldRule:
    """A field: ``of`` names the fact that it gives, ``rule`` says how it is read.

    ``messages``: ``both`` are SIU and ORM, and of MSH, PID and PV1 ADT as well.
    ``values``: the values of the mapping that are looked for here by default; empty for a field of no mapped value.
    """

    segment: str
    fields: tuple[int, ...]
    messages: Literal["SIU", "ORM", "ADT", "both", "MFN"]
    of: str
    null: Literal["deletes", "none"]
    rule: str
    values: tuple[str, ...] = ()


_KEY: Final = "none"
FIELDS: Final = (
    FieldRule("MSH", (1, 2, 18), "both", "delimiters, character set", _KEY,
              "what the bytes are in counts before what MSH-18 says; 0x80 to 0x9F are Windows' letters"),
    FieldRule("MSH", (3, 4, 10), "both", "sender, control id", _KEY, "tell a repeat; MSH-4 also the facility, last"),
    FieldRule("MSH", (5, 6), "both", "receiver", _KEY, "answered back, not compared"),
    FieldRule("MSH", (7,), "both", "when it was made", _KEY,
              "tells the newer of two; its offset holds for times without one (`default_zone`)"),
    FieldRule("MSH", (9,), "both", "message and event", _KEY,
              "SIU^S12 to S15, S23, S24, S26; ORM^O01; ADT^A04, A08, A23, A28, A31, A39, A40; else AR 200, 201"),
    FieldRule("MSH", (11,), "both", "processing id", _KEY, "one of `processing_ids`, else AR 202"),
    FieldRule("MSH", (12,), "both", "version", _KEY, "of the answer's form"),
    FieldRule("MSH", (14,), "both", "continuation", _KEY, "a fragment (also DSC, ADD) is refused"),
    FieldRule("MSH", (15, 16), "both", "acknowledgements", _KEY, "one of the two has to ask for success; else AR"),
    FieldRule("PID", (3,), "both", "patient's numbers", _KEY,
              "those of `identifier_types` (CX-5); authority by CX-4: namespace, universal id or both"),
    FieldRule("PID", (2, 4), "both", "patient's numbers", _KEY, "as PID-3, where that has no number of record"),
    FieldRule("PID", (5,), "both", "names", "deletes", "the best by XPN-7: legal, none, D, U, R, C, B, P; no alias"),
    FieldRule("PID", (7,), "both", "birth date", "deletes", "a whole date of 1850 to 2199, else passed over"),
    FieldRule("PID", (8,), "both", "sex", "deletes", "F, M, O, A, U, N; others are U"),
    FieldRule("PID", (11,), "both", "address", "deletes", "the first not bad or of birth (XAD-7), as one value"),
    FieldRule("PID", (13,), "both", "phone, e-mail", "deletes",
              "the first of each by XTN-2 and XTN-3; XTN-1, XTN-12 or XTN-5 to 8; what holds an @ is an e-mail"),
    FieldRule("PID", (15,), "both", "language", "deletes", "a code; deleted, the site's default"),
    FieldRule("NK1", (2, 3, 5, 6), "both", "guardian", _KEY,
              "by NK1-3: GRD, else PAR, MTH, FTH, or their words; a list without one: no guardian"),
    FieldRule("GT1", (3, 6, 7, 11), "both", "guardian", _KEY, "by GT1-11, where no NK1 names one"),
    FieldRule("PV1", (3,), "both", "facility", _KEY, "PV1-3.4, after AIL-3.4 or ORC-13.4", ("facility",)),
    FieldRule("PV1", (8,), "both", "referring physician", "deletes", "the first: number, names, authority",
              ("referring_physician",)),
    FieldRule("SCH", (1,), "SIU", "placer number", _KEY, "required"),
    FieldRule("SCH", (2,), "SIU", "filler id", "deletes", "SCH-2.1"),
    FieldRule("SCH", (6,), "SIU", "reason of the end", "deletes", "text, else code; of S15 and S26 alone", ("reason",)),
    FieldRule("SCH", (7,), "SIU", "study", _KEY, "where there is no AIS", ("study",)),
    FieldRule("SCH", (9, 10), "SIU", "length", _KEY, "in the units of SCH-10, where SCH-11 gives no end"),
    FieldRule("SCH", (11,), "SIU", "start, end, priority", _KEY,
              "SCH-11.4, .5; .3 by its unit (M30); a day alone is refused; .6"),
    FieldRule("SCH", (25,), "SIU", "status", _KEY, "order value, else name, after the event; unknown: waits",
              ("status", "order_status")),
    FieldRule("TQ1", (6, 7, 8), "both", "length, start, end", _KEY, "where SCH-11, ORC-7 and OBR-27 give none"),
    FieldRule("TQ1", (9,), "both", "priority", _KEY, "after SCH-11.6 and ORC-7.6, OBR-27.6", ("priority",)),
    FieldRule("RGS", (2,), "SIU", "action", _KEY, "D: the whole group is off"),
    FieldRule("AIS", (2, 3), "SIU", "study and what is done to it", _KEY,
              "A, U, D, X; with D, U or X the others stay, else the list is whole (`services`)"),
    FieldRule("AIS", (4, 5, 6), "SIU", "the study's own start", _KEY, "AIS-4, else AIS-5 after the appointment's"),
    FieldRule("AIS", (7, 8), "SIU", "the study's own length", _KEY, "in the units of AIS-8"),
    FieldRule("AIG", (2,), "SIU", "action", _KEY, "D: not this resource"),
    FieldRule("AIG", (3,), "SIU", "resource", "deletes", "the first that is not D; an appointment needs one",
              ("resource",)),
    FieldRule("AIG", (4,), "SIU", "modality", "deletes", "else the resource's own", ("modality",)),
    FieldRule("AIG", (8, 11, 12), "SIU", "start, length", _KEY, "where SCH, TQ1 and AIS give none"),
    FieldRule("AIL", (2, 3), "SIU", "facility", _KEY, "AIL-3.4 of the first that is not D"),
    FieldRule("AIL", (6, 9, 10), "SIU", "start, length", _KEY, "as AIG's"),
    FieldRule("ORC", (1,), "ORM", "order control", _KEY, "of its own order: NW, XO, SC; CA, OC, DC take it off"),
    FieldRule("ORC", (2,), "ORM", "placer number", _KEY, "required, the same in all"),
    FieldRule("ORC", (3,), "ORM", "accession number", _KEY, "tells the order; else OBR-3", ("accession_number",)),
    FieldRule("ORC", (5,), "ORM", "status", _KEY, "by `order_statuses`, where ORC-16 is empty",
              ("status", "order_status")),
    FieldRule("ORC", (7,), "ORM", "start, end, priority", "deletes",
              ".4, .5, .3; else OBR-27; no end: the resource's length; .6",
              ("study_start", "study_end", "study_minutes", "priority")),
    FieldRule("ORC", (13,), "ORM", "facility", _KEY, "ORC-13.4", ("facility",)),
    FieldRule("ORC", (16,), "ORM", "status", _KEY, "as SCH-25", ("status", "order_status")),
    FieldRule("OBR", (3,), "ORM", "accession number", _KEY, "as ORC-3", ("accession_number",)),
    FieldRule("OBR", (4,), "ORM", "study", _KEY, "of its order", ("study",)),
    FieldRule("OBR", (16,), "ORM", "referring physician", _KEY, "where PV1-8 is empty", ("referring_physician",)),
    FieldRule("OBR", (19,), "ORM", "resource", "deletes", "of the first order that has one", ("resource",)),
    FieldRule("OBR", (24,), "ORM", "modality", "deletes", "else the resource's own", ("modality",)),
    FieldRule("OBR", (27,), "ORM", "start, end, priority", "deletes", "as ORC-7",
              ("study_start", "study_end", "study_minutes", "priority")),
    FieldRule("MRG", (1,), "ADT", "ended record's numbers", _KEY, "as PID-3"),
    FieldRule("MRG", (2, 4), "ADT", "ended record's numbers", _KEY, "as PID-2 and PID-4, where MRG-1 has none"),
    FieldRule("OBR", (44,), "ORM", "procedure", _KEY, "the code alone", ("procedure_code",)),
    FieldRule("EVN", (1,), "ADT", "event", _KEY, "where MSH-9 gives none"),
    FieldRule("NTE", (3,), "ORM", "reason of the end", "deletes", "of orders that are off: after their ORC or OBR",
              ("reason",)),
    FieldRule("ZDS", (1,), "both", "Study Instance UID", _KEY, "of its order; of the AIS with its number",
              ("study_uid",)),
)  # fmt: skip
MASTER_FIELDS: Final = (
    FieldRule("MFI", (1, 3), "MFN", "master file", _KEY, "LOC; UPD or empty"),
    FieldRule("MFE", (1,), "MFN", "what happened", _KEY, "MAD, MUP, MAC: there; MDC, MDL: off"),
    FieldRule("MFE", (4,), "MFN", "key, facility", _KEY, "MFE-4.1: PowerServer's id, kept over a new name; MFE-4.4"),
    FieldRule("LOC", (1,), "MFN", "key, room, facility", _KEY,
              "LOC-1.1 repeats the key; LOC-1.2; LOC-1.4, else MFE-4.4, MSH-4"),
    FieldRule("LOC", (2,), "MFN", "resource", _KEY, "the name as it stands, blanks too; required unless it is off"),
    FieldRule("LOC", (3,), "MFN", "type", _KEY, "text"),
    FieldRule("LOC", (8,), "MFN", "modality", _KEY, "of the equipment, the first"),
    FieldRule("LDP", (2,), "MFN", "department", _KEY, "LDP-2.2, else LDP-2.1"),
    FieldRule("LDP", (5,), "MFN", "active", _KEY, "A or I"),
    FieldRule("LDP", (9,), "MFN", "hours", _KEY, "VH: days (SUN … SAT), start, end; without days one window for each"),
    FieldRule("LCH", (4, 5), "MFN", "length, overbooking, class", _KEY,
              "by LCH-4: DURATION in minutes, OVERBOOKING Y or N, CLASS; others are passed over"),
)  # fmt: skip
"""The fields of master files: HL7's own segments for a location, and LCH for the grid's other three columns."""
SET_IDS: Final = frozenset(
    {"PID", "PV1", "RGS", "AIS", "AIG", "AIL", "AIP", "OBR", "NTE", "TQ1", "AL1", "DG1", "OBX", "NK1", "GT1"}
)
"""Segments whose first field is only their number: it is not used, and not counted as ignored."""


def rules(message_type: str, mapping: Hl7Mapping) -> list[FieldRule]:
    """The rules in force. A field that the mapping moves a value to has a rule that names the mapping's key."""
    if message_type == "ADT":
        return _rules_of_adt(mapping)
    if message_type not in {"SIU", "ORM"}:
        every = (*FIELDS, *MASTER_FIELDS)
        return [rule for rule in every if rule.messages == message_type or (rule.segment == "MSH" and not rule.values)]
    family = message_type.lower()
    looked_for: dict[str, set[str]] = {}
    for name, places in (mapping.siu if family == "siu" else mapping.orm).each():
        for place in places.looked_for:
            looked_for.setdefault(f"{place.segment}-{place.field}", set()).add(name)
    found: list[FieldRule] = []
    known: set[str] = set()
    for rule in FIELDS:
        if rule.messages not in {"both", message_type}:
            continue
        names = {f"{rule.segment}-{number}" for number in rule.fields}
        if not rule.values or any(looked_for.get(name, set()) & set(rule.values) for name in names):
            found.append(rule)
            known |= names
    for where, values in looked_for.items():
        segment, _, number = where.partition("-")
        if where not in known:
            said = ", ".join(f"{family}.{value}" for value in sorted(values))
            of = ", ".join(value.replace("_", " ") for value in sorted(values))
            words = f"as {said} of the mapping says"
            found.append(FieldRule(segment, (int(number),), _MESSAGES[family], of, _KEY, words))
    return found


def _rules_of_adt(mapping: Hl7Mapping) -> list[FieldRule]:
    """Of the patient, and where the mapping has the e-mail address in SIU."""
    found = [
        rule
        for rule in FIELDS
        if rule.messages == "ADT" or rule.segment in {"MSH", "PID"} or (rule.segment, rule.fields) == ("PV1", (3,))
    ]
    for place in mapping.siu.email.looked_for:
        if (place.segment, place.field) != ("PID", 13):
            words = "as siu.email of the mapping says"
            found.append(FieldRule(place.segment, (place.field,), "ADT", "e-mail", _KEY, words))
    return found


_MESSAGES: Final[Mapping[str, Literal["SIU", "ORM"]]] = {"siu": "SIU", "orm": "ORM"}


def read_fields(message_type: str, mapping: Hl7Mapping) -> Mapping[bytes, frozenset[int]]:
    """The numbers of the fields that are read of each segment."""
    found: dict[bytes, set[int]] = {one.encode(): {1} for one in SET_IDS}
    for rule in rules(message_type, mapping):
        found.setdefault(rule.segment.encode(), set()).update(rule.fields)
    return {name: frozenset(numbers) for name, numbers in found.items()}
