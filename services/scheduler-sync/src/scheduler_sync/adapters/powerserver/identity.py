"""A patient's identifiers: PID-3, and PID-2 and PID-4 of senders that use the older places; MRG has its own.

CX-5 is a number's type: only numbers of record identify a person. CX-4 names the authority by its namespace, its
universal id, or both. CX-6, the facility, is not the authority.
"""

from collections.abc import Mapping
from typing import Final

from chassis.errors import Malformed, NeedsSetup
from chassis.observe import shown, words_of
from hl7v2 import Segment
from scheduler_sync.adapters.powerserver import values
from scheduler_sync.adapters.powerserver.values import Reading
from scheduler_sync.domain.patient import PatientIdentifier
from scheduler_sync.site import SiteFile

_PLACES: Final[Mapping[str, tuple[int, ...]]] = {"PID": (3, 2, 4), "MRG": (1, 4, 2)}
"""The fields with a patient's numbers: the list of identifiers, then the external and alternate ids of old versions."""
_MOST_NUMBERS: Final = 50
_NO_ISSUER: Final = "(none)"
_NO_TYPE: Final = "(no type)"
_LONGEST_ISSUER: Final = 200


def identifiers(reading: Reading, segment: Segment) -> tuple[PatientIdentifier, ...]:
    """The numbers of record in PID or MRG whose authorities the site knows.

    The older places count where PID-3 or MRG-1 has none.
    """
    name = segment.id
    places = _PLACES[name]
    first = f"{name}-{places[0]}"
    types: set[str] = set()
    for place in places:
        found: list[PatientIdentifier] = []
        unknown: str | None = None
        for number, parts in enumerate(segment.repetitions(place)[:_MOST_NUMBERS], 1):
            value = values.code(parts, 1)
            if value is None:
                continue
            kind = (values.code(parts, 5) or "").upper()
            if not _is_of_record(kind, reading.site):
                types.add(kind or _NO_TYPE)
                reading.ignore(name, place)
                continue
            issuer, as_it_stood = _authority(reading.site, segment, place, number, values.code(parts, 4))
            if issuer is None:
                unknown = as_it_stood
                reading.ignore(name, place)
            else:
                found.append(PatientIdentifier(issuer, values.identifier(value, f"{name}-{place}")))
        if found:
            return tuple(found) if len(found) == 1 else tuple(dict.fromkeys(found))
        if unknown is not None:
            known = words_of([*reading.site.issuers, *reading.site.facilities])
            unknown = "&".join(shown(part, known) if part else "" for part in unknown.split("&"))
            key = next((one for one in unknown.split("&")[1::-1] if one), _NO_ISSUER)
            raise NeedsSetup(
                f"{name}-{place}.4: the issuer of patient id {unknown or _NO_ISSUER!r} is not in the site file",
                setting=f"issuers.{key}",
            )
    if types:
        named = ", ".join(sorted(one if one == _NO_TYPE else shown(one) for one in types))
        raise NeedsSetup(
            f"{first}.5: no number of record is given, but of the types {named}", setting="hl7.identifier_types"
        )
    raise Malformed(f"{first}.1 is missing", location=f"{first}.1", code=values.REQUIRED_FIELD_MISSING)


def _is_of_record(kind: str, site: SiteFile) -> bool:
    return kind in site.hl7.identifying_types if kind else site.hl7.untyped_identifiers


def _authority(
    site: SiteFile, segment: Segment, place: int, number: int, namespace: str | None
) -> tuple[str | None, str]:
    """The site's issuer that an HD names, and the HD's text in the message."""
    if b"&" not in segment.encoded(place) and segment.delimiters.subcomponent == b"&":
        return site.authorities.get(namespace or _NO_ISSUER), namespace or ""
    parts = [(part or "").strip() for part in segment.components(f"{place}[{number}].4")[:3]]
    names = [part for part in (*parts[:1], *(part.removeprefix("urn:oid:") for part in parts[1:2])) if part]
    known = {issuer for name in names or [_NO_ISSUER] if (issuer := site.authorities.get(name)) is not None}
    as_it_stood = "&".join(parts).rstrip("&")[:_LONGEST_ISSUER]
    if len(known) > 1:
        raise NeedsSetup(
            f"{segment.id}-{place}.4: {as_it_stood!r} names two issuers of the site file",
            setting="issuers: both under one system",
        )
    return next(iter(known), None), as_it_stood
