"""What OmegaAI's API shows: organisations, issuers, study types, procedure codes, healthcare services, its clock."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from omegaai import elements
from omegaai.client import FhirClient, Found, NotFoundError
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.preflight.lines import Line, State, apart
from scheduler_sync.site import SiteFile

_ORGANIZATION: Final = "OmegaAI: Organizations"
_ISSUER: Final = "OmegaAI: Organizations > the master organisation > Issuers of patient id"
_SERVICES: Final = "OmegaAI: Scheduler > Edit Healthcare Services > +"
_CATALOGUE: Final = "OmegaAI: Settings > Study types (order sets)"
_PROCEDURES: Final = "OmegaAI: Settings > Procedure codes"
CLOCK_SECONDS: Final = 5.0
"""A larger difference is a wrong clock: the suite itself withholds what depends on time beyond it."""


async def connection(client: FhirClient, now: datetime) -> list[Line]:
    """The token, the CapabilityStatement, and the clock by the Date header."""
    found = await client.metadata()
    software = elements.text(elements.child(found.resource, "software"), "name")
    version = elements.text(found.resource, "fhirVersion") or "no version"
    words = f"a token was given, and /metadata answered: FHIR {version}{f', {software[:60]}' if software else ''}"
    lines = [Line("omegaai.fhir", "Connections", "OmegaAI's FHIR interface and token", State.FOUND, words, now)]
    if found.said_at is None:
        words, state = "its answers have no Date header", State.NOT_VISIBLE
    else:
        seconds = (found.said_at - now).total_seconds()
        words = f"its Date header is {apart(seconds)} our clock"
        state = State.FOUND if abs(seconds) <= CLOCK_SECONDS else State.MISSING
    where = "The machines' time service (NTP), on both sides"
    return [*lines, Line("clock.omegaai", "Clocks", "OmegaAI's clock", state, words, now, where)]


async def organizations(client: FhirClient, site: SiteFile, now: datetime) -> list[Line]:
    """The master organisation, and each facility's: there, below the master, in the facility's zone."""
    master = site.organization.master
    lines = [await _organization(client, "organization.master", master, "the master organisation", None, now)]
    for code, facility in site.facilities.items():
        line = await _organization(
            client,
            f"organization.{code}",
            facility.organization,
            f"the organisation of {code}",
            facility.time_zone,
            now,
        )
        lines.append(line)
    return lines


async def _organization(  # noqa: PLR0917 (what is looked for, and how it is named)
    client: FhirClient, line_id: str, organization_id: str, what: str, time_zone: str | None, now: datetime
) -> Line:
    def line(state: State, seen: str) -> Line:
        return Line(line_id, "Organisations", f"{what} ({organization_id})", state, seen, now, _ORGANIZATION)

    try:
        found = await client.read("Organization", organization_id)
    except NotFoundError:
        return line(State.MISSING, "OmegaAI has no organisation of this id; or the site file has a wrong one")
    read = reader.organization(found)
    if elements.boolean(found.resource.get("active")) is False:
        return line(State.MISSING, "it is switched off")
    if time_zone is not None and read.time_zone is not None and read.time_zone != time_zone:
        return line(State.MISSING, f"its zone is {read.time_zone[:60]}, the site file says {time_zone}")
    return line(State.FOUND, f"it is there{'' if read.part_of is None else f', below organisation {read.part_of}'}")


async def issuers(client: FhirClient, site: SiteFile, now: datetime) -> list[Line]:
    """Each authority of the site file, under the master organisation."""
    master = site.organization.master
    known = await _first_page(client, "AssigningAuthority", {})
    lines = []
    for system in dict.fromkeys(site.issuers.values()):
        names = ", ".join(issuer for issuer, one in site.issuers.items() if one == system)
        there = [
            one for one in known if one.resource.get("system") == system and one.resource.get("active") is not False
        ]
        owners = {owner[1] for one in there if (owner := _owner(one)) is not None}
        if not there:
            state, seen = State.MISSING, f"OmegaAI has no assigning authority {system}"
        elif owners and master not in owners:
            state, seen = State.MISSING, f"it is under organisation {', '.join(sorted(owners))}, not under the master"
        else:
            state, seen = State.FOUND, "the authority is there, under the master organisation"
        lines.append(Line(f"issuer.{names}", "Issuers", f"the issuer {names}", state, seen, now, _ISSUER))
    return lines


def _owner(found: Found) -> tuple[str, str] | None:
    return elements.reference(elements.child(found.resource, "managingOrganization"))


async def catalogues(client: FhirClient, now: datetime) -> list[Line]:
    """Study types (study sets, order sets) and procedure codes: whether there are any, and their modalities."""
    types = await _first_page(client, "StudyType", {})
    codes = await _first_page(client, "ProcedureCode", {})
    modalities = Counter(str(one.resource.get("modality")) for one in types if one.resource.get("modality"))
    listed = ", ".join(sorted(modalities)[:20])
    return [
        _counted("study-types", "study types (study sets, order sets)", types, _CATALOGUE, now, f" for {listed}"),
        _counted("procedure-codes", "procedure codes", codes, _PROCEDURES, now),
    ]


def _counted(  # noqa: PLR0917 (one line's parts)
    line_id: str, what: str, found: Sequence[Found], where: str, now: datetime, more: str = ""
) -> Line:
    number = f"{len(found)}{' or more' if len(found) >= _PAGE else ''}"
    state, seen = (State.FOUND, f"{number}{more}") if found else (State.MISSING, "OmegaAI has none")
    return Line(line_id, "Catalogues", what, state, seen, now, where)


async def services(client: FhirClient, site: SiteFile, now: datetime) -> list[Line]:
    """The healthcare services of each facility, and their modalities."""
    lines = []
    for code, facility in site.facilities.items():
        found = await _first_page(client, "HealthcareService", {"organization": facility.organization})
        active = [one for one in found if elements.boolean(one.resource.get("active")) is not False]
        bare = [one for one in active if not elements.extension(one.resource, "modality")]
        kinds: Any = sorted({str(elements.extension(one.resource, "modality")) for one in active} - {"None", ""})
        number = f"{len(active)}{' or more' if len(found) >= _PAGE else ''}"
        seen = f"{number} active of organisation {facility.organization}"
        state = State.FOUND if active else State.MISSING
        lines.append(
            Line(f"services.{code}", "Resources", f"healthcare services of {code}", state, seen, now, _SERVICES)
        )
        state = State.FOUND if kinds and not bare else State.MISSING
        seen = ", ".join(kinds[:20]) or "none"
        seen += f"; {len(bare)} services have none" if bare else ""
        where = f"{_SERVICES} > Modality"
        lines.append(Line(f"modalities.{code}", "Catalogues", f"modalities of {code}", state, seen, now, where))
    return lines


_PAGE: Final = 100


async def _first_page(client: FhirClient, kind: str, query: dict[str, str]) -> Sequence[Found]:
    """At most a hundred: a preflight asks whether something is there."""
    async for page in client.pages(kind, {**query, "_count": str(_PAGE)}):
        return page.news
    return []
