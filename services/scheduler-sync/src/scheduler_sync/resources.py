"""The bookable resources: imported from OmegaAI, kept in the store, held in memory.

Looked up by exact name within a facility, because both products compare names exactly; an alias in the site file joins
two names that cannot be made the same.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import structlog

from chassis.backoff import pause_seconds
from chassis.errors import AccessRefused, Malformed, NeedsSetup, Permanent, Transient, reason_of
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters, shown, words_of
from omegaai.client import FhirClient, Found, NotFoundError
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.reader import ServiceFound
from scheduler_sync.domain.resource import Resource
from scheduler_sync.site import Site, SiteFile

_log = structlog.get_logger(__name__)
_RETRY_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0
EQUIPMENT: Final = (
    "CT", "MR", "MRI", "US", "DX", "CR", "XR", "XA", "NM", "PT", "PET", "DXA", "DEXA", "MG", "RF", "IR", "BMD", "XRAY",
    "RAY", "ULTRASOUND", "SONO", "MAMMO", "MAMMOGRAPHY", "FLUORO", "FLUOROSCOPY", "ANGIO", "ECHO", "NUCLEAR", "ROOM",
    "SUITE", "BAY", "UNIT", "SCANNER", "TABLE", "CLINIC", "MOBILE",
)  # fmt: skip
"""Words of resource names: a name with one of them is a machine's or a room's, not a person's."""


class ResourceDirectory:
    """All resources, in memory; the hot path asks here and not the store."""

    def __init__(self, site: Callable[[], SiteFile]) -> None:
        self._site = site
        self._by_name: dict[tuple[str, str], Resource] = {}
        self._was_filled = False

    def fill(self, resources: Iterable[Resource]) -> None:
        """Replaces the resources. Inactive ones are left out: they cannot be booked."""
        by_name: dict[tuple[str, str], Resource] = {}
        for resource in resources:
            if resource.active:
                by_name[(resource.facility, resource.name)] = resource
                for alias in resource.aliases:
                    by_name.setdefault((resource.facility, alias), resource)
        self._by_name = by_name
        self._was_filled = self._was_filled or bool(by_name)

    def find(self, facility: str, name: str) -> Resource | None:
        """The resource of this exact name, or the one that the site file's alias leads to; None where there is none."""
        found = self._by_name.get((facility, name))
        if found is None:
            alias = self._site().resource_aliases.get(facility, {}).get(name)
            found = None if alias is None else self._by_name.get((facility, alias))
        return found

    def all_of(self, facility: str) -> list[Resource]:
        """The facility's resources, by name."""
        found = {one.id: one for (code, _), one in self._by_name.items() if code == facility}
        return sorted(found.values(), key=lambda one: one.name)

    def named(self, facility: str, name: str) -> Resource:
        """As ``find``. NeedsSetup where there is none; Transient while the resources have never been read."""
        found = self.find(facility, name)
        if found is not None:
            return found
        site = self._site()
        if not self._was_filled:
            raise Transient("the resources have not been read from OmegaAI yet")
        names = (known for _, known in (*self._by_name, *site.resource_aliases.get(facility, {}).items()))
        name = shown(name, words_of([*names, *EQUIPMENT, *site.facilities]))
        organization = site.facilities[facility].organization
        raise NeedsSetup(
            f"resource {name!r} of {facility} is not a HealthcareService of OmegaAI's organisation {organization}",
            setting=f"OmegaAI: Scheduler > Edit Healthcare Services, or resource_aliases.{facility} in the site file",
        )

    def of_service(self, healthcare_service_id: str) -> Resource | None:
        """The resource that is this HealthcareService. Transient while they have never been read."""
        if not self._was_filled:
            raise Transient("the resources have not been read from OmegaAI yet")
        return next((one for one in self._by_name.values() if one.healthcare_service_id == healthcare_service_id), None)

    def __len__(self) -> int:
        return len(self._by_name)


class ResourceStore(Protocol):
    """Stores resources."""

    async def keep(self, facility: str, services: Sequence[ServiceFound]) -> None: ...
    async def all(self) -> Sequence[Resource]: ...


class ResourceImport(LoopBase):
    """Reads organisations and HealthcareServices of all facilities every ``interval_seconds``, or when woken."""

    def __init__(
        self,
        client: FhirClient,
        site: Site,
        store: ResourceStore,
        directory: ResourceDirectory,
        *,
        interval_seconds: float,
        metrics: Metrics | None = None,
    ) -> None:
        super().__init__()
        self._metrics = metrics or Metrics()
        self._client = client
        self._site = site
        self._store = store
        self._directory = directory
        self._interval_seconds = interval_seconds
        self._woken = asyncio.Event()

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        due_at, refusals = 0.0, 0
        while not self.stopping:
            self.beat()
            if self._site.refresh() or self._woken.is_set() or time.monotonic() >= due_at:
                self._woken.clear()
                error = await self._import()
                refusals = refusals + 1 if isinstance(error, AccessRefused) else 0
                seconds = self._interval_seconds if error is None else _RETRY_SECONDS
                if refusals:  # a refused log-in is retried seldom
                    seconds = pause_seconds(refusals, first_seconds=_RETRY_SECONDS)
                due_at = time.monotonic() + seconds
            await self.pause(_LOOK_SECONDS)

    async def import_once(self) -> int:
        """Reads and stores everything; returns the number of services.

        Raises Transient or Permanent of the first facility that failed; the others are read and stored all the same.
        """
        count = 0
        failed: list[Transient | Permanent] = []
        for code in self._site.file.facilities:
            try:
                count += await self._import_facility(code)
            except (Transient, Permanent) as error:
                _log.info("resource-import.facility-failed", facility=code, reason=error.reason)
                failed.append(error)
        self._directory.fill(await self._store.all())
        self._metrics.set(
            meters.PARTNER_ACCESS_REFUSED,
            float(any(isinstance(error, AccessRefused) for error in failed)),
            destination="omegaai-resources",
        )
        if failed:
            raise failed.pop(0)  # in the list, the error would hold itself: a cycle
        return count

    async def _import_facility(self, code: str) -> int:
        facility = self._site.file.facilities[code]
        services = []
        with self.waiting("omegaai", longest_seconds=self._client.longest_call_seconds):
            await self._check_organization(code, facility.organization, facility.time_zone)
            self.beat()
            query = {"organization": facility.organization, "_count": "100"}
            async for found in self._client.search("HealthcareService", query):
                self.beat()
                service = _readable(found)
                if service is not None:
                    services.append(service)
        await self._store.keep(code, services)
        return len(services)

    async def _import(self) -> Transient | Permanent | None:
        """The reason why a part could not be read."""
        try:
            if not len(self._directory):
                self._directory.fill(await self._store.all())  # OmegaAI may be away
            count = await self.import_once()
        except (Transient, Permanent) as error:
            _log.warning("resource-import.failed", reason=str(error), held=len(self._directory))
            return error
        _log.info("resource-import.done", services=count)
        return None

    async def _check_organization(self, code: str, organization_id: str, time_zone: str) -> None:
        """Logs the contradictions between OmegaAI's tree and the site file; they stop nothing."""
        key = f"facilities.{code}.organization"
        try:
            found = reader.organization(await self._client.read("Organization", organization_id))
        except NotFoundError:
            _log.error("site-file.contradicted", key=key, why="OmegaAI has no such organisation")
            return
        except (Transient, Permanent) as error:
            _log.warning("site-file.not-compared", key=key, reason=error.reason)
            return
        if found.time_zone is not None and found.time_zone != time_zone:
            _log.error("site-file.contradicted", key=f"facilities.{code}.time_zone", why="OmegaAI has another zone")


def _readable(found: Found) -> ServiceFound | None:
    """The service; None for an unreadable one: the others can still be booked."""
    try:
        return reader.healthcare_service(found)
    except Malformed as error:
        _log.error("resource-import.unreadable", service=found.id[:64], expression=error.location)
    except Exception as error:  # noqa: BLE001 (a bug met in one service is said, and hides no other)
        _log.error("resource-import.unreadable", service=found.id[:64], reason=reason_of(error))
    return None
