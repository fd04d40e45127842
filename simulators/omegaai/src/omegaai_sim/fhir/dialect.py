"""The vendor's dialect: how RamSoft's payloads deviate from R4, applied on reading and removed on writing.

The store holds strict R4 only. In the vendor dialect answers deviate, and a client may send back a resource as it read
it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from omegaai_sim.fhir.definitions import DEFINITIONS, RESOURCE_TYPES, Element
from omegaai_sim.settings import DIALECTS, Dialect

Json = dict[str, Any]

IANA_ZONE_URL: Final = "http://www.ramsoft.com/fhir/StructureDefinition/timezoneIANA"
_EMPTY_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "Patient": ("maritalStatus", "language"),
    "Appointment": ("comment", "patientInstruction", "description"),
    "HealthcareService": ("comment", "extraDetails"),
    "Organization": ("language",),
    "Task": ("description",),
    "HumanName": ("text",),
    "Address": ("district", "text"),
}
_FOREIGN_IN: Final[Mapping[str, Mapping[str, object]]] = {
    "Patient": {"financialClass": "", "employer": None, "isCommunicationEnabeld": True},
    "Appointment": {"priorityId": 2, "visitNumber": "", "enteredBy": "system", "requestingService": ""},
    "HealthcareService": {"blumeLicense": "AFD"},
    "Organization": {"isExternalIssuer": False},
    "Task": {"requestingService": "", "enteredBy": "system"},
}
_MANGLED_URN = re.compile(r"^urn:uuid(?=[0-9a-fA-F]{8}-)")
_CASELESS_TYPES: Final = {name.lower(): name for name in RESOURCE_TYPES}


@dataclass
class DialectSwitch:
    """The dialect in which resources are read, switchable while the simulator runs."""

    current: Dialect

    async def answer(self, request: Request) -> Response:
        """`GET` and `POST /control/dialect`, `{"dialect": "strict" | "vendor"}`."""
        if request.method == "POST":
            try:
                given = json.loads(await request.body())
            except ValueError:
                given = None
            wanted = given.get("dialect") if isinstance(given, dict) else None
            if wanted not in DIALECTS:
                return JSONResponse({"error": f"dialect is one of {', '.join(DIALECTS)}"}, 400)
            self.current = wanted
        return JSONResponse({"dialect": self.current})


def to_vendor(resource: Json) -> Json:
    """A stored resource in RamSoft's form."""
    resource_type = resource["resourceType"]
    shown = _put_on(resource, resource_type)
    shown["resourceType"] = resource_type
    shown["fullUrl"] = f"{resource_type.lower()}/{resource['id']}"
    shown.update(_FOREIGN_IN.get(resource_type, {}))
    if resource_type == "Organization" and "extension" in shown:
        shown["extension"] = [one for one in shown["extension"] if one["url"] != IANA_ZONE_URL]
    return shown


def _put_on(value: Mapping[str, Any], type_name: str) -> Json:
    elements = DEFINITIONS[type_name]
    shown: Json = {}
    for name, inner in value.items():
        element = elements.get(name)
        if element is None:
            shown[name] = inner
        elif isinstance(inner, list):
            shown[name] = [_put_on_one(one, element) for one in inner]
        else:
            shown[name] = _put_on_one(inner, element)
    for name in _EMPTY_IN.get(type_name, ()):
        shown.setdefault(name, "")
    if type_name == "Reference" and "/" in str(shown.get("reference", "")):
        shown["reference"] = shown["reference"].lower()
        shown["id"] = shown["reference"].rsplit("/", 1)[-1]
    return shown


def _put_on_one(value: Any, element: Element) -> Any:
    if isinstance(value, dict):
        return _put_on(value, element.type) if element.type in DEFINITIONS else value
    if isinstance(value, str):
        # Codes with a fixed value set are in upper case; codes of code systems stay as they are.
        return value.upper() if element.allowed else value.replace("urn:uuid:", "urn:uuid")
    return value


def to_strict(resource: Mapping[str, Any], resource_type: str) -> Json:
    """A resource in the vendor dialect as R4. Parts that cannot be converted stay, and the validation refuses them."""
    mended = _take_off(resource, resource_type)
    return {"resourceType": resource.get("resourceType"), **mended}


def _take_off(value: Mapping[str, Any], type_name: str) -> Json:
    elements = DEFINITIONS[type_name]
    mended: Json = {}
    for name, inner in value.items():
        element = elements.get(name)
        if name.startswith("_") and name[1:] in elements:
            mended[name] = inner
        if element is None or inner in ("", None, [], {}):
            continue
        kept = (
            [_take_off_one(one, element) for one in inner] if isinstance(inner, list) else _take_off_one(inner, element)
        )
        if kept not in ([], {}):
            mended[name] = kept
    if type_name == "Reference" and isinstance(mended.get("reference"), str):
        given_type, _, rest = cast("str", mended["reference"]).partition("/")
        mended["reference"] = f"{_CASELESS_TYPES.get(given_type.lower(), given_type)}/{rest}" if rest else given_type
        if mended.get("id") == rest:
            del mended["id"]
    return mended


def _take_off_one(value: Any, element: Element) -> Any:
    if isinstance(value, dict):
        return _take_off(value, element.type) if element.type in DEFINITIONS else value
    if isinstance(value, str):
        if element.allowed and element.type == "code":
            return value.lower()
        return _MANGLED_URN.sub("urn:uuid:", value)
    return value
