"""The site file: how one customer's PowerServer words map to OmegaAI's.

It is read again when it changes, without a restart. An edit that does not hold keeps the file as it was and says which
line and key is wrong: a typing mistake must not stop a hospital's messages.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from scheduler_sync.domain.appointment import WorkflowStep

_log = structlog.get_logger(__name__)

Text = Annotated[str, Field(min_length=1)]
Person = Annotated[str, Field(min_length=1, max_length=15)]
"""A person's id number (XCN-1)."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class SiteOrganization(_Strict):
    """OmegaAI's tree for this customer."""

    master: Text


class SiteFacility(_Strict):
    """A PowerServer facility: its organisation in OmegaAI, and what patients read of it."""

    organization: Text
    name: Text
    time_zone: Text
    phone: str | None = None
    address: str | None = None

    @field_validator("time_zone")
    @classmethod
    def _is_an_iana_name(cls, value: str) -> str:
        if value not in available_timezones():
            raise ValueError("is not an IANA time zone name such as America/Toronto")
        return value

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class SiteHl7(_Strict):
    """How PowerServer is spoken to."""

    version: Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1"] = "2.3.1"
    send: Literal["siu", "orm"] = "siu"
    orm_resource_field: Annotated[str, Field(pattern=r"^[A-Z0-9]{3}-\d+(\.\d+)?$")] = "OBR-19"
    sending_application: Text = "SUITE"
    sending_facility: str | None = None
    receiving_application: Text = "RAMSOFT"
    filler_contact: Person | None = None
    """SCH-16, which HL7 requires: whom PowerServer's side is to be asked; the receiving application where not given."""
    entered_by: Person | None = None
    """SCH-20, which HL7 requires: who enters what the suite says; the sending application where not given."""
    acknowledgement: Literal["as-asked", "original"] = "as-asked"
    """Whether MSH-15 and MSH-16 say how a message is answered, or each is answered AA, AE or AR."""
    processing_ids: Annotated[tuple[Text, ...], Field(min_length=1)] = ("P",)
    """MSH-11 of the messages that are taken: P is production, T training, D debugging."""
    identifier_types: Annotated[tuple[Text, ...], Field(min_length=1)] = ("MR", "PI")
    """CX-5 of the numbers that identify a patient. No other number does: accounts, visits, licences, insurances."""
    untyped_identifiers: bool = True
    """Whether a number without CX-5 identifies a patient."""
    default_zone: Literal["message", "facility"] = "message"
    """Where a time gives no offset: MSH-7's, where it gives another than the facility's then; or the facility's."""
    duration_units: dict[str, Literal["seconds", "minutes", "hours", "days"]] = {}
    """Units of this sender's beside the usual ones, such as a slot of its own."""
    services: Literal["whole", "changes"] = "whole"
    """Whether an SIU without a D, U or X among its AIS-2 gives the whole list of services, or those to add."""
    order_statuses: dict[str, WorkflowStep] = {
        "CM": WorkflowStep.COMPLETED, "CA": WorkflowStep.CANCELLED, "DC": WorkflowStep.CANCELLED,
    }  # fmt: skip
    """What ORC-5 means where ORC-16 is empty."""

    @cached_property
    def identifying_types(self) -> frozenset[str]:
        """CX-5 in upper case."""
        return frozenset(one.upper() for one in self.identifier_types)


class SiteFile(_Strict):
    """One customer's mapping; the keys are those of the YAML file."""

    site: Text
    organization: SiteOrganization
    facilities: Annotated[dict[str, SiteFacility], Field(min_length=1)]
    issuers: Annotated[dict[str, str], Field(min_length=1)]
    statuses: Annotated[dict[int, WorkflowStep], Field(min_length=1)]
    status_names: dict[str, int] = {}
    resource_aliases: dict[str, dict[str, str]] = {}
    """Per facility: PowerServer's resource name → HealthcareService name, where the two cannot be made the same."""
    hl7: SiteHl7 = SiteHl7()

    @model_validator(mode="after")
    def _names_have_steps(self) -> "SiteFile":
        for name, value in self.status_names.items():
            if value not in self.statuses:
                raise ValueError(f"status_names.{name}: {value} is not among the order values of statuses")
        for step in (WorkflowStep.SCHEDULED, WorkflowStep.CONFIRMED, WorkflowStep.CANCELLED):
            if step not in self.statuses.values():
                raise ValueError(f"statuses: no order value maps to {step}")
        for facility in self.resource_aliases:
            if facility not in self.facilities:
                raise ValueError(f"resource_aliases.{facility}: is not among facilities")
        return self

    @cached_property
    def authorities(self) -> Mapping[str, str]:
        """The issuer that each key of ``issuers`` stands for: keys of one system are names of one authority."""
        first: dict[str, str] = {}
        return {issuer: first.setdefault(system, issuer) for issuer, system in self.issuers.items()}

    @cached_property
    def step_of_name(self) -> Mapping[str, WorkflowStep]:
        """The step of each status name, in upper case."""
        return {name.upper(): self.statuses[value] for name, value in reversed(self.status_names.items())}

    @cached_property
    def facility_of_organization(self) -> Mapping[str, str]:
        return {facility.organization: code for code, facility in self.facilities.items()}

    @cached_property
    def status_of_step(self) -> Mapping[WorkflowStep, tuple[int, str]]:
        """How PowerServer is told a step: order value and the site's name for it (SCH-25, ORC-16)."""
        names = {value: name for name, value in reversed(self.status_names.items())}
        found: dict[WorkflowStep, tuple[int, str]] = {}
        for value, step in sorted(self.statuses.items()):
            found.setdefault(step, (value, names.get(value, step.value.replace("-", " ").upper())))
        return found


class SiteFileError(Exception):
    """The site file does not hold; the text names the file, the line and the key."""


def load(path: Path) -> SiteFile:
    """Read the site file. SiteFileError when it is not there, not YAML, or a key is wrong."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SiteFileError(f"{path}: cannot be read ({type(error).__name__})") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        values: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise SiteFileError(f"{path}{line}: is not YAML ({getattr(error, 'problem', 'unreadable')})") from error
    try:
        return SiteFile.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        keys = tuple(step for step in first["loc"] if step != "[key]")
        key = ".".join(str(step) for step in keys) or "the file"
        raise SiteFileError(f"{path}, line {_line_of(node, keys)}: {key}: {first['msg']}") from error


def _line_of(node: yaml.Node | None, keys: tuple[int | str, ...]) -> int:
    """The line of the deepest key of ``keys`` that is in the file."""
    line = 1 if node is None else node.start_mark.line + 1
    for key in keys:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((name, value) for name, value in node.value if str(name.value) == str(key)), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


_UNREAD: Final = (0, 0)


class Site:
    """The site file as it is now. ``refresh`` looks whether it has changed; ``problem`` says what is wrong with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _UNREAD
        self.problem: str | None = None
        self._seen = self._stamp()
        self.file = load(path)

    def refresh(self) -> bool:
        """Read the file again if it has changed; True when a new content holds from now on."""
        stamp = self._stamp()
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            self.file = load(self._path)
        except SiteFileError as error:
            self.problem = str(error)
            _log.error("site-file.refused", problem=self.problem, kept="the content before the edit")
            return False
        self.problem = None
        _log.info("site-file.read", facilities=len(self.file.facilities))
        return True

    def _stamp(self) -> tuple[int, int]:
        try:
            found = self._path.stat()
        except OSError:
            return _UNREAD
        return found.st_mtime_ns, found.st_size
