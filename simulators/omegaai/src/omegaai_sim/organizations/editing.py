"""The forms of an organisation and of an issuer of patient ids."""

import json
from typing import Any, Final

from omegaai_sim.fhir import records
from omegaai_sim.fhir.ramsoft import extended, value
from omegaai_sim.fhir.records import Resource
from omegaai_sim.organizations import switches
from omegaai_sim.organizations.zones import ZONES
from omegaai_sim.staff.editor import Editor
from omegaai_sim.staff.forms import Entries
from simulator_kit.store import Work

MODALITIES: Final = ("CT", "MR", "DX", "US", "MG", "NM", "PT", "XA")
MASTER: Final = "1"
_MOST_KM: Final = 20_000


def organizations(work: Work) -> list[Resource]:
    """All organisations, the master first."""
    rows = work.all("SELECT body FROM resource WHERE type = 'Organization' ORDER BY CAST(id AS INTEGER)")
    return [json.loads(row["body"]) for row in rows]


def authorities(work: Work) -> list[Resource]:
    """All issuers of patient ids, oldest first."""
    rows = work.all("SELECT body FROM resource WHERE type = 'AssigningAuthority' ORDER BY CAST(id AS INTEGER)")
    return [json.loads(row["body"]) for row in rows]


def organization_named(work: Work, entries: Entries, field: str) -> str:
    """The id of the organisation whose name, or id, was entered."""
    text = entries.text(field, "organisation", required=True)
    found = [one for one in organizations(work) if text.casefold() in {one["name"].casefold(), one["id"]}]
    if not found:
        names = ", ".join(one["name"] for one in organizations(work))
        entries.wrong(field, f"There is no organisation of this name. Known are: {names}.")
        return ""
    return str(found[0]["id"])


def _values(_work: Work, body: Resource | None) -> dict[str, Any]:
    found = body or {"active": True}
    phones = [one["value"] for one in found.get("telecom", []) if one.get("system") == "phone" and "value" in one]
    addresses = [one["text"] for one in found.get("address", []) if "text" in one]
    return {
        "name": found.get("name", ""),
        "active": found.get("active", True),
        "zone": value(found, "timezoneIANA", "America/Toronto"),
        "phone": "".join(phones[:1]),
        "address": "".join(addresses[:1]),
        "latitude": value(found, "latitude", ""),
        "longitude": value(found, "longitude", ""),
        "radius": switches.radius_km(found),
        "modalities": [one for one in MODALITIES if switches.is_open(found, one)],
        **{name: switches.is_on(found, name) for name in switches.SWITCHES},
    }


def _body(work: Work, entries: Entries, stored: Resource | None) -> Resource:
    before = stored or {}
    name = entries.text("name", "name", required=True)
    if any(one["name"] == name and one["id"] != before.get("id") for one in organizations(work)):
        entries.wrong("name", "Another organisation has this name.")
    zone = entries.choice("zone", "time zone", {**ZONES, value(before, "timezoneIANA", "UTC"): ""})
    latitude, longitude = entries.degrees("latitude", "latitude", 90), entries.degrees("longitude", "longitude", 180)
    if (latitude is None) != (longitude is None):
        entries.wrong("latitude" if latitude is None else "longitude", "Latitude and longitude go together.")
    radius = entries.number("radius", "distance in km", 1, _MOST_KM)
    open_ones = [one for one in entries.several("modalities") if one in MODALITIES]
    is_all = len(open_ones) == len(MODALITIES)
    contacts = [one for one in before.get("telecom", []) if one.get("system") != "phone"]
    phone, address = entries.text("phone", "phone"), entries.text("address", "address")
    windows_zone = ZONES.get(zone, value(before, "timezone", ""))
    body = {
        **{kept: held for kept, held in before.items() if kept not in {"telecom", "address"}},
        "name": name,
        "active": entries.is_ticked("active"),
        **({"telecom": [{"system": "phone", "value": phone}, *contacts]} if phone or contacts else {}),
        **({"address": [{"text": address}]} if address else {}),
    }
    if stored is None and name:
        body["partOf"] = {"reference": f"Organization/{MASTER}"}
    if not phone and "telecom" in body:
        body["telecom"] = contacts
    return extended(
        body,
        {
            "timezone": [("valueString", windows_zone)] if windows_zone else [],
            "timezoneIANA": [("valueString", zone)],
            "latitude": [] if latitude is None else [("valueDecimal", latitude)],
            "longitude": [] if longitude is None else [("valueDecimal", longitude)],
            switches.RADIUS: [] if radius in {None, switches.USUAL_RADIUS_KM} else [("valueInteger", radius)],
            switches.MODALITIES: [] if is_all else [("valueString", ",".join(open_ones) or "none")],
            **{one: [("valueBoolean", entries.is_ticked(one))] for one in switches.SWITCHES},
        },
    )


ORGANIZATION: Final = Editor(
    "Organization",
    "organizations/one.html",
    _values,
    _body,
    lambda _work, body: {
        "zones": sorted({*ZONES, value(body or {}, "timezoneIANA", "UTC")}),
        "all_modalities": [(one, one) for one in MODALITIES],
    },
    lists=("modalities",),
    ticks=("active", *switches.SWITCHES),
)


def _authority_values(work: Work, body: Resource | None) -> dict[str, Any]:
    found = body or {"active": True, "managingOrganization": {"reference": f"Organization/{MASTER}"}}
    _, _, owner = found.get("managingOrganization", {}).get("reference", "").partition("/")
    names = [one["name"] for one in organizations(work) if one["id"] == owner]
    return {
        "name": found.get("name", ""),
        "system": found.get("system", ""),
        "organization": "".join(names[:1]),
        "active": found.get("active", True),
        "external": found.get("isExternalIssuer", False),
    }


def _authority_body(work: Work, entries: Entries, stored: Resource | None) -> Resource:
    name = entries.text("name", "issuer", required=True)
    system = entries.text("system", "system", required=True)
    if " " in system or (system and ":" not in system):
        entries.wrong("system", "The system is a URI without blanks, such as http://northside.example/patient-id.")
    own = (stored or {}).get("id")
    for one in authorities(work):
        if one["id"] != own and system == one["system"]:
            entries.wrong("system", f"This is the system of {one['name']} already.")
        if one["id"] != own and name == one["name"]:
            entries.wrong("name", "Another issuer has this name.")
    owner = organization_named(work, entries, "organization")
    return {
        **(stored or {}),
        "name": name,
        "system": system,
        "active": entries.is_ticked("active"),
        "isExternalIssuer": entries.is_ticked("external"),
        "managingOrganization": {"reference": f"Organization/{owner}"},
    }


def _master(work: Work, _body: Resource | None) -> dict[str, Any]:
    return {
        "organizations": [one["name"] for one in organizations(work)],
        "master": records.read(work, "Organization", MASTER).body["name"],
    }


AUTHORITY: Final = Editor(
    "AssigningAuthority", "organizations/issuer.html", _authority_values, _authority_body, _master,
    ticks=("active", "external"),
)  # fmt: skip
