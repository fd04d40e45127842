"""The part of the site file that every service reads; the keys are those of the YAML file."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator

from site_file.zones import iana_name

Text = Annotated[str, Field(min_length=1)]
Person = Annotated[str, Field(min_length=1, max_length=15)]
"""A person's id number (XCN-1)."""


class SiteSection(BaseModel):
    """A part of the site file; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    FORMER: ClassVar[Mapping[str, str]] = {}
    """Keys of former releases, and where to write each of them now."""


class SiteOrganization(SiteSection):
    """OmegaAI's tree for this customer."""

    master: Text


class SiteFacility(SiteSection):
    """A PowerServer facility: its organisation in OmegaAI, and its texts for patients."""

    organization: Text
    name: Text
    time_zone: Text
    phone: str | None = None
    address: str | None = None

    @field_validator("time_zone")
    @classmethod
    def _is_a_zone(cls, value: str) -> str:
        """IANA's name, also where the file has Windows' name."""
        return iana_name(value)

    @cached_property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


class SiteHl7(SiteSection):
    """How the suite speaks HL7 with PowerServer."""

    FORMER = {
        "orm_resource_field": "stands in the mapping file now; write it there as orm: {resource: OBR-19}, with your "
        "own place, and the file's name here as hl7.mapping"
    }

    version: Literal["2.3", "2.3.1", "2.4", "2.5", "2.5.1"] = "2.3.1"
    send: Literal["siu", "orm"] = "siu"
    mapping: Text | None = None
    """The mapping file of HL7's places, beside the site file. Without it the defaults hold."""
    sending_application: Text = "SUITE"
    sending_facility: str | None = None
    receiving_application: Text = "RAMSOFT"
    filler_contact: Person | None = None
    """SCH-16, which HL7 requires: the contact person on PowerServer's side. Default: the receiving application."""
    entered_by: Person | None = None
    """SCH-20, which HL7 requires: the person who enters the suite's messages. Default: the sending application."""
    acknowledgement: Literal["as-asked", "original"] = "as-asked"
    """``as-asked``: MSH-15 and MSH-16 say how a message is answered. ``original``: always AA, AE or AR."""
    processing_ids: Annotated[tuple[Text, ...], Field(min_length=1)] = ("P",)
    """MSH-11 of accepted messages: P is production, T training, D debugging."""
    identifier_types: Annotated[tuple[Text, ...], Field(min_length=1)] = ("MR", "PI")
    """CX-5 of numbers that identify a patient. All other numbers do not: accounts, visits, licences, insurances."""
    untyped_identifiers: bool = True
    """Whether a number without CX-5 identifies a patient."""
    default_zone: Literal["message", "facility"] = "message"
    """Zone of a time without an offset.

    ``message``: MSH-7's offset, else the facility's. ``facility``: the facility's.
    """
    duration_units: dict[str, Literal["seconds", "minutes", "hours", "days"]] = {}
    """This sender's units beside the usual ones, such as a slot as a unit."""
    services: Literal["whole", "changes"] = "whole"
    """For an SIU without D, U or X in AIS-2.

    ``whole``: the list of services is complete. ``changes``: services to add.
    """
    order_statuses: Mapping[str, str] = {"CM": "completed", "CA": "cancelled", "DC": "cancelled"}
    """The workflow step of each ORC-5, for messages with an empty ORC-16."""

    @cached_property
    def identifying_types(self) -> frozenset[str]:
        """CX-5 in upper case."""
        return frozenset(one.upper() for one in self.identifier_types)


class SharedSite(SiteSection):
    """One customer's mapping. A service adds its own keys and never sees other services' keys."""

    site: Text
    organization: SiteOrganization
    facilities: Annotated[dict[str, SiteFacility], Field(min_length=1)]
    issuers: Annotated[dict[str, str], Field(min_length=1)]
    hl7: SiteHl7 = SiteHl7()

    @cached_property
    def authorities(self) -> Mapping[str, str]:
        """The issuer of each key of ``issuers``: keys of one system are names of one authority."""
        first: dict[str, str] = {}
        return {issuer: first.setdefault(system, issuer) for issuer, system in self.issuers.items()}

    @cached_property
    def facility_of_organization(self) -> Mapping[str, str]:
        return {facility.organization: code for code, facility in self.facilities.items()}
