"""Writes the fix of a drift to a HealthcareService, and never blindly.

Each field is written only while OmegaAI shows the value that the person saw when they decided (or the wanted one
already: a repeat finds its own work done), and the whole only while the resource has the version that was read.
"""

from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any, Final
from uuid import UUID

import orjson

from chassis.deliveries import Delivery, Receipt, UnreadableReceiptError
from chassis.errors import Permanent, Transient
from omegaai import elements
from omegaai.client import FhirClient, NotFoundError, VersionMovedError
from omegaai.elements import Json
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.reader import ServiceFound
from scheduler_sync.domain.resource import Hours, available_time_of, hours_of_available_time

RESOURCE_FIX: Final = "resource.fix"
"""The kind of the delivery."""
_TRIES: Final = 4
_ROOT: Final = "http://www.ramsoft.com/fhir/StructureDefinition/"
_EXTENSIONS: Final[Mapping[str, tuple[str, str]]] = {
    "modality": ("modality", "valueCode"),
    "duration": ("Duration", "valueInteger"),
    "overbooking": ("overBooking", "valueBoolean"),
}


@dataclass(frozen=True, slots=True)
class FieldFix:
    """A field, OmegaAI's value when the person decided, and the value to write; hours as ``availableTime``."""

    field: str
    before: Any
    wanted: Any


@dataclass(frozen=True, slots=True)
class ServiceFix:
    """A decision: the values that a HealthcareService should get."""

    pair_id: UUID
    facility: str
    name: str
    healthcare_service_id: str
    fields: tuple[FieldFix, ...]

    def to_bytes(self) -> bytes:
        return orjson.dumps(asdict(self), default=str)  # asyncpg's UUIDs are a class of their own

    @classmethod
    def from_bytes(cls, payload: bytes) -> "ServiceFix":
        values = orjson.loads(payload)
        fields = tuple(FieldFix(**one) for one in values.pop("fields"))
        return cls(**{**values, "pair_id": UUID(values["pair_id"])}, fields=fields)


@dataclass(frozen=True, slots=True)
class FixAccepted:
    """OmegaAI has the service in this version. ``was_written`` is False where it showed the wanted values already."""

    version: str
    was_written: bool

    def to_receipt(self) -> Receipt:
        return Receipt(
            {"resource": "HealthcareService", "version_id": self.version, "written": str(self.was_written).lower()}
        )

    @classmethod
    def of(cls, receipt: Receipt) -> "FixAccepted":
        """UnreadableReceiptError."""
        version = receipt.detail.get("version_id")
        if not version:
            raise UnreadableReceiptError("it has no version_id")
        return cls(version, receipt.detail.get("written") == "true")


async def fix_service(client: FhirClient, delivery: Delivery) -> Receipt:
    """Sends a delivery of the kind ``RESOURCE_FIX``. Raises Transient, Permanent."""
    fix = ServiceFix.from_bytes(delivery.payload)
    for _ in range(_TRIES):
        try:
            found = await client.read("HealthcareService", fix.healthcare_service_id)
        except NotFoundError:
            raise Permanent("HealthcareService: OmegaAI has no such service any more") from None
        missing = _missing(fix, reader.healthcare_service(found))
        if not missing:
            return FixAccepted(found.version, was_written=False).to_receipt()
        if not await _may_write(delivery.still_ours):
            raise Transient("another worker has taken the delivery over")
        body = with_fields(found.resource, missing)
        try:
            written = await client.update("HealthcareService", found.id, body, version=found.version)
        except VersionMovedError:
            continue
        return FixAccepted(written.version, was_written=True).to_receipt()
    raise Transient("OmegaAI: the HealthcareService keeps changing under the update")


async def _may_write(still_ours: Callable[[], Awaitable[bool]]) -> bool:
    return await still_ours()


def _missing(fix: ServiceFix, now: ServiceFound) -> list[FieldFix]:
    """The fields that are still to be written. Permanent when one has a third value: a person has to decide again."""
    missing = []
    for one in fix.fields:
        present = comparable(one.field, value_of(now, one.field))
        if present == comparable(one.field, one.wanted):
            continue
        if present != comparable(one.field, one.before):
            raise Permanent(
                f"HealthcareService: {one.field} was changed in OmegaAI since the decision; look at the drift again"
            )
        missing.append(one)
    return missing


def value_of(service: ServiceFound, field: str) -> Any:
    """A field's value as OmegaAI has it."""
    values = {
        "modality": service.modality,
        "duration": service.duration_minutes,
        "overbooking": service.allows_overbooking,
        "active": service.is_active,
        "hours": service.available_time,
    }
    return values[field]


def comparable(field: str, value: Any) -> Any:
    """Hours by their meaning: the same hours have many spellings. An unreadable value is compared as it stands."""
    if field != "hours" or not isinstance(value, list):
        return value
    return hours_of_available_time(value) or value


def with_fields(resource: Json, fixes: list[FieldFix]) -> Json:
    """A copy of the resource with these values; everything else stays as OmegaAI has it."""
    body = deepcopy(resource)
    for one in fixes:
        if one.field == "active":
            body["active"] = one.wanted
        elif one.field == "hours":
            body["availableTime"] = one.wanted
        else:
            _set_extension(body, *_EXTENSIONS[one.field], one.wanted)
    return body


def _set_extension(body: Json, name: str, kind: str, value: Any) -> None:
    """Replaces the value under the URL that OmegaAI uses, or adds the extension."""
    found = elements.extension_item(body, name)
    if found is None:
        extensions = body["extension"] if isinstance(body.get("extension"), list) else []
        body["extension"] = [*extensions, {"url": _ROOT + name, kind: value}]
        return
    for key in [key for key in found if key.startswith("value")]:
        del found[key]
    found[kind] = value


def wanted_of(field: str, value: Any) -> Any:
    """PowerServer's value in OmegaAI's form."""
    return available_time_of(value) if isinstance(value, Hours) and field == "hours" else value
