"""One site's mapping file: the place of each value in PowerServer's HL7 messages, in both directions.

``docs/operations/mapping.md`` lists every key with its default. Without a mapping file the defaults hold.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, PrivateAttr, model_validator
from pydantic_core import PydanticCustomError

from site_file import Content, SiteSection, iana_name

VERSIONS: Final = ("2.3", "2.3.1", "2.4", "2.5", "2.5.1")
"""The versions of HL7 that are written and read, the oldest first."""
MessageType = Annotated[str, Field(pattern=r"^[A-Z]{3}\^[A-Z0-9]{3}$")]
_HOW: Final = "write a segment, a dash and a field, with a component where it has one: OBR-19, PID-13.4"
_PLACE: Final = re.compile(r"([A-Z][A-Z0-9]{2})-([1-9]\d?)(?:\.([1-9]\d?))?", re.ASCII)
_SPAN: Final = re.compile(r"(\S+)(?: (from|until) (\S+))?", re.ASCII)
_RESERVED: Final = frozenset(
    {"MSH", "SCH-1", "SCH-2", "ORC-1", "ORC-2", "OBR-1", "OBR-2", "PID-1", "PID-2", "PID-3", "PV1-1", "AIS-1", "AIS-2",
     "AIG-1", "AIG-2", "AIL-1", "AIL-2", "RGS"}
)  # fmt: skip
"""Places that name the message, the appointment or the patient: nothing else is written there."""
_LAID: Final = {
    "siu": frozenset({"SCH", "TQ1", "NTE", "PID", "PV1", "AIS", "AIG", "AIL"}),
    "orm": frozenset({"PID", "PV1", "ORC", "TQ1", "OBR", "NTE"}),
}
"""The segments that are written; a site's own (Z…) follow them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a message: ``OBR-19``, ``PID-13.4``. ``component`` is None for the whole field.

    ``since`` and ``until`` are the versions between which the place is written, both included.
    """

    segment: str
    field: int
    component: int | None = None
    since: str = VERSIONS[0]
    until: str = VERSIONS[-1]

    @classmethod
    def of(cls, text: str) -> "Place":
        """``OBR-19``, ``TQ1-9 from 2.5``, ``ORC-7.6 until 2.4``. ValueError says how a place is written."""
        span = _SPAN.fullmatch(text.strip())
        match = None if span is None else _PLACE.fullmatch(span[1])
        if span is None or match is None:
            raise ValueError(f"{text!r} is not a place; {_HOW}")
        if span[3] is not None and span[3] not in VERSIONS:
            raise ValueError(f"{text!r}: {span[3]} is not a version; write one of {', '.join(VERSIONS)}")
        since, until = VERSIONS[0], VERSIONS[-1]
        if span[2] == "from":
            since = str(span[3])
        elif span[2] == "until":
            until = str(span[3])
        return cls(match[1], int(match[2]), None if match[3] is None else int(match[3]), since, until)

    @property
    def name(self) -> str:
        """As in the mapping file, without versions."""
        return f"{self.segment}-{self.field}" + ("" if self.component is None else f".{self.component}")

    @property
    def part(self) -> int:
        """The component that a single text stands in."""
        return self.component or 1

    def is_of(self, version: str) -> bool:
        return VERSIONS.index(self.since) <= VERSIONS.index(version) <= VERSIONS.index(self.until)


def _is_read_place(text: str) -> str:
    if " " in text.strip():
        raise ValueError(f"{text!r}: a place that is read counts in every version; write it without from and until")
    Place.of(text)
    return text


def _is_place(text: str) -> str:
    Place.of(text)
    return text


ReadPlace = Annotated[str, AfterValidator(_is_read_place)]
WritePlace = Annotated[str, AfterValidator(_is_place)]


class Places(SiteSection):
    """Where one value is looked for, the first filled place counts; and every place where it is written."""

    read: tuple[ReadPlace, ...] = ()
    write: tuple[WritePlace, ...] = ()

    @cached_property
    def looked_for(self) -> tuple[Place, ...]:
        return tuple(map(Place.of, self.read))

    def written(self, version: str) -> tuple[Place, ...]:
        return tuple(place for text in self.write if (place := Place.of(text)).is_of(version))


def _at(*read: str, write: tuple[str, ...] | None = None) -> Places:
    return Places(read=read, write=read[:1] if write is None else write)


class _Values(SiteSection):
    """The values of one family of messages. A part that the file leaves out keeps its default."""

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: cls._whole(name, value) for name, value in given.items()}

    @classmethod
    def _whole(cls, name: str, value: Any) -> Any:
        """``AIG-3`` is the place for both directions; a list is read in its order, and its first place is written."""
        if isinstance(value, str):
            return {"read": [value], "write": [value]}
        if isinstance(value, list):
            return {"read": value, "write": value[:1]}
        known = cls.model_fields.get(name)
        if isinstance(value, dict) and known is not None:
            return known.default.model_dump() | value
        return value

    def each(self) -> Iterator[tuple[str, Places]]:
        """The values with their names in the file."""
        for name in type(self).model_fields:
            yield name, getattr(self, name)


class SiuValues(_Values):
    """The places of SIU. Start, end and lengths without a place of their own follow HL7's rules (SCH-11, TQ1, AIS)."""

    status: Places = _at("SCH-25")
    order_status: Places = _at()
    priority: Places = _at("SCH-11.6", "TQ1-9", write=("SCH-11.6 until 2.4", "TQ1-9 from 2.5"))
    facility: Places = _at("AIL-3.4", "PV1-3.4", "MSH-4", write=("AIL-3.4", "PV1-3.4"))
    resource: Places = _at("AIG-3")
    modality: Places = _at("AIG-4")
    start: Places = _at("SCH-11.4", "TQ1-7")
    end: Places = _at("SCH-11.5")
    minutes: Places = _at(write=("SCH-9", "SCH-11.3"))
    study: Places = _at("AIS-3", "SCH-7", write=("AIS-3", "SCH-7"))
    study_start: Places = _at("AIS-4")
    study_minutes: Places = _at("AIS-7")
    study_uid: Places = _at("ZDS-1")
    accession_number: Places = _at()
    referring_physician: Places = _at("PV1-8")
    reason: Places = _at("SCH-6")
    email: Places = _at("PID-13", write=("PID-13.4",))
    time_zone: Places = _at()


class OrmValues(_Values):
    """The places of ORM. Each order has its own, those of ORC, TQ1, OBR, NTE and a site's own (Z…) segments."""

    status: Places = _at("ORC-16")
    order_status: Places = _at("ORC-5", write=())
    priority: Places = _at("ORC-7.6", "OBR-27.6", "TQ1-9", write=("ORC-7.6", "OBR-27.6", "TQ1-9 from 2.5"))
    facility: Places = _at("ORC-13.4", "PV1-3.4", "MSH-4", write=("ORC-13.4", "PV1-3.4"))
    resource: Places = _at("OBR-19")
    modality: Places = _at("OBR-24")
    study: Places = _at("OBR-4")
    procedure_code: Places = _at("OBR-44", write=())
    study_start: Places = _at("ORC-7.4", "OBR-27.4", "TQ1-7", write=("ORC-7.4", "OBR-27.4"))
    study_end: Places = _at("ORC-7.5", "OBR-27.5", "TQ1-8", write=("ORC-7.5", "OBR-27.5"))
    study_minutes: Places = _at("ORC-7.3", "OBR-27.3", "TQ1-6", write=("ORC-7.3", "OBR-27.3"))
    study_uid: Places = _at("ZDS-1")
    accession_number: Places = _at("ORC-3", "OBR-3", write=("ORC-3", "OBR-3"))
    referring_physician: Places = _at("PV1-8", "OBR-16")
    reason: Places = _at("NTE-3")
    email: Places = _at("PID-13", write=("PID-13.4",))
    time_zone: Places = _at()


class Station(SiteSection):
    """A sender of messages, by MSH-3 or by ``MSH-3@MSH-4``. ``*`` is every sender that is not named."""

    may_send: tuple[MessageType, ...] | None = None
    """The message types that are taken from it, such as SIU^S12. Without it, all that the service takes."""
    refusal: Literal["AR", "AE"] = "AR"
    """The answer to every other type. AE keeps the message until the list has its type."""


class PowerServerStation(SiteSection):
    """The station that the suite's messages go to."""

    facility: Annotated[str, Field(min_length=1)] | None = None
    """MSH-6. Without it, the facility of the appointment."""
    expect_ack: bool = True
    """False: the station sends no acknowledgement. A message is delivered when it is written to the connection."""


class Hl7Mapping(SiteSection):
    """The content of a mapping file."""

    siu: SiuValues = SiuValues()
    orm: OrmValues = OrmValues()
    request_priority: Annotated[str, Field(min_length=1, max_length=60)] = "SCHEDULED STATUS"
    """The name of PowerServer's priority that marks a patient's request."""
    blocked_statuses: tuple[Annotated[str, Field(min_length=1, max_length=60)], ...] = ("BLOCKED",)
    """The statuses of an SIU, by code or name, that mark a blocked time in place of an appointment."""
    zone_names: Mapping[str, Annotated[str, AfterValidator(iana_name)]] = {}
    """Names of time zones of this site's sender, beside those of IANA and of Windows."""
    stations: Mapping[Annotated[str, Field(min_length=1)], Station] = {"*": Station()}
    powerserver: PowerServerStation = PowerServerStation()

    _content: Content | None = PrivateAttr(None)

    @cached_property
    def blocked_words(self) -> frozenset[str]:
        """``blocked_statuses`` in capitals."""
        return frozenset(word.upper() for word in self.blocked_statuses)

    @cached_property
    def has_lists(self) -> bool:
        """Whether a station has a list of messages of its own."""
        return any(one.may_send is not None for one in self.stations.values())

    def of_file(self, content: Content) -> "Hl7Mapping":
        """The mapping with the lines of its file, for explanations."""
        self._content = content
        return self

    def source(self, *keys: str) -> str:
        """Where the file says this: ``northside.hl7.yaml:12``; ``default`` where it says nothing."""
        content = self._content
        if content is None or not content.has(keys):
            return "default"
        return f"{content.path.name}:{content.line(keys)}"

    @model_validator(mode="after")
    def _written_places_are_free(self) -> "Hl7Mapping":
        for family in ("siu", "orm"):
            _check_written(family, getattr(self, family))
        return self


def _check_written(family: str, values: _Values) -> None:
    """Refuses a written place that names the message, is in no written segment, or holds another value already."""
    taken: dict[str, str] = {}
    defaults = type(values)()
    own_last = sorted(values.each(), key=lambda one: one[1] != getattr(defaults, one[0]))
    for name, places in own_last:
        for number, text in enumerate(places.write):
            place = Place.of(text)
            field = f"{place.segment}-{place.field}"
            reason = None
            if place.segment in _RESERVED or field in _RESERVED:
                reason = f"{field} names the message, the appointment or the patient; write another place"
            elif place.segment not in _LAID[family] and not place.segment.startswith("Z"):
                known = ", ".join(sorted(_LAID[family]))
                reason = f"{place.segment} is not written in {family.upper()}; write a place of {known} or Z…"
            elif (other := next((one for one in taken if _collides(one, place.name)), None)) and taken[other] != name:
                reason = f"{place.name} holds {taken[other]} already; write another place"
            if reason is not None:
                where = (family, name, "write", number)
                raise PydanticCustomError("place", "{reason}", {"reason": reason, "keys": where})
            taken[place.name] = name


def _collides(one: str, other: str) -> bool:
    return one in {other, f"{other}.1"} or other == f"{one}.1"
