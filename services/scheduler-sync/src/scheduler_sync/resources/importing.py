"""Imports OmegaAI's HealthcareServices, compares both sides, and keeps the directory in memory."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from chassis.backoff import pause_seconds
from chassis.clock import utc_now
from chassis.errors import AccessRefused, Malformed, Permanent, Transient, reason_of
from chassis.loops import LoopBase
from chassis.observe import Metrics, meters
from omegaai.client import FhirClient, Found, NotFoundError
from scheduler_sync import metrics as own_meters
from scheduler_sync.adapters.omegaai import reader
from scheduler_sync.adapters.omegaai.reader import ServiceFound
from scheduler_sync.domain.resource import Resource
from scheduler_sync.resources.directory import ResourceDirectory
from scheduler_sync.resources.matching import Comparison
from scheduler_sync.site import Site, SiteFile
from site_file import UnknownZoneError, are_alike

_log = structlog.get_logger(__name__)
_RETRY_SECONDS: Final = 2.0
_LONGEST_RETRY_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0
_COMPARE_SECONDS: Final = 60.0


def pause_after(failures: int) -> float:
    """The pause before the next try after ``failures`` in a row, in seconds: it grows to half a minute."""
    return pause_seconds(failures, first_seconds=_RETRY_SECONDS, longest_seconds=_LONGEST_RETRY_SECONDS)


class ResourceStore(Protocol):
    """Stores resources."""

    async def keep(self, facility: str, services: Sequence[ServiceFound]) -> None: ...
    async def all(self) -> Sequence[Resource]: ...
    async def compare(self, site: SiteFile) -> Comparison: ...
    async def newest_change(self) -> int | None:
        """A number that grows with every change of a resource on either side, and every decision about one."""
        ...


class ResourceImport(LoopBase):
    """Reads organisations and HealthcareServices of all facilities every ``interval_seconds``, or when woken.

    It compares both sides after each import, soon after a change that another process or an HL7 message has made, and
    once a minute.
    """

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
        self._is_wanted = False
        self._newest_change: int | None = None
        self._probe: str | None = None
        """The facility that could not be read the last time, because OmegaAI was away."""
        self._compare_at = 0.0

    def wake(self) -> None:
        """Reads everything now."""
        self._is_wanted = True  # a pause that ends clears the event
        self._woken.set()

    async def run(self) -> None:
        due_at, failures = 0.0, 0
        while not self.stopping:
            self.beat()
            is_changed = self._site.refresh()
            self._metrics.set(own_meters.SITE_FILE_REFUSED, int(self._site.problem is not None))
            if is_changed or self._is_wanted or time.monotonic() >= due_at:
                self._is_wanted = False
                error = await self._import()
                failures = 0 if error is None else failures + 1
                due_at = time.monotonic() + (pause_after(failures) if failures else self._interval_seconds)
            await self._follow()
            await self.pause(_LOOK_SECONDS, self._woken)

    async def import_once(self, *, compares: bool = True) -> int:
        """Reads and stores everything, and compares; returns the number of services.

        A recovery does not compare: that would announce resources before their revisions are known.
        Raises Transient or Permanent of the first facility that failed; the others are read and stored all the same.
        While OmegaAI is away, one facility is asked first: when that fails again, the others are not asked.
        """
        count = 0
        failed: list[Transient | Permanent] = []
        probe, self._probe = self._probe, None
        for code in sorted(self._site.file.facilities, key=lambda one: one != probe):
            try:
                count += await self._import_facility(code)
            except (Transient, Permanent) as error:
                _log.info("resource-import.facility-failed", facility=code, reason=error.reason)
                failed.append(error)
                is_away = isinstance(error, Transient)
                self._probe = self._probe or (code if is_away else None)
                if is_away and code == probe:
                    break
        if compares:
            await self._compare()
        else:
            self._directory.fill(await self._store.all())
        self._metrics.set(
            meters.PARTNER_ACCESS_REFUSED,
            float(any(isinstance(error, AccessRefused) for error in failed)),
            destination="omegaai-resources",
        )
        if failed:
            raise failed.pop(0)  # in the list, the error would hold itself: a cycle
        return count

    async def _follow(self) -> None:
        """Compares again where something has changed, or a minute has passed. A store that is away is asked later."""
        try:
            newest = await self._store.newest_change()
            if newest != self._newest_change or time.monotonic() >= self._compare_at:
                await self._compare()
        except Transient as error:
            _log.info("resource-comparison.not-now", reason=error.reason)

    async def _compare(self) -> None:
        self._newest_change = await self._store.newest_change()
        self._compare_at = time.monotonic() + _COMPARE_SECONDS
        found = await self._store.compare(self._site.file)
        for state, number in found.counts.items():
            self._metrics.set(own_meters.RESOURCES, number, state=state)
        self._directory.fill(await self._store.all())

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
        if found.time_zone is None:
            return
        try:
            is_other = not are_alike(found.time_zone, time_zone, at=utc_now())
        except UnknownZoneError as error:
            why = f"OmegaAI's zone is not known: {error.name[:64]}"
            _log.error("site-file.contradicted", key=f"facilities.{code}.time_zone", why=why)
            return
        if is_other:
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
