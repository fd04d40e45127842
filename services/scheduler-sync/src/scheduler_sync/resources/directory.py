"""The bookable resources in memory; the hot path asks here and not the store.

A resource is found by its exact name within a facility, because both products compare names exactly. An alias joins two
names that cannot be made the same: of the store (a person's decision), or of the site file.
"""

from collections.abc import Callable, Iterable
from typing import Final

from chassis.errors import NeedsSetup, Transient
from chassis.observe import shown, words_of
from scheduler_sync.domain.resource import NearNames, Resource
from scheduler_sync.site import SiteFile

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
        self._switched_off: set[tuple[str, str]] = set()
        self._near: dict[str, NearNames] = {}
        self._was_filled = False

    def fill(self, resources: Iterable[Resource]) -> None:
        """Replaces the resources. Inactive ones cannot be booked; they are known by name, for the reason alone."""
        by_name: dict[tuple[str, str], Resource] = {}
        switched_off = set()
        for resource in resources:
            if resource.active:
                by_name[(resource.facility, resource.name)] = resource
                for alias in resource.aliases:
                    by_name.setdefault((resource.facility, alias), resource)
            else:
                switched_off.add((resource.facility, resource.name))
        self._by_name = by_name
        self._switched_off = switched_off - by_name.keys()
        self._near = {}
        self._was_filled = self._was_filled or bool(by_name)

    def find(self, facility: str, name: str) -> Resource | None:
        """The resource of this exact name, or the one that an alias leads to; None where there is none.

        The store's aliases go before the site file's.
        """
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
        if not self._was_filled:
            raise Transient("the resources have not been read from OmegaAI yet")
        raise self._unknown(facility, name, self._site())

    def _unknown(self, facility: str, name: str, site: SiteFile) -> NeedsSetup:
        names = (known for _, known in (*self._by_name, *site.resource_aliases.get(facility, {}).items()))
        safe = shown(name, words_of([*names, *EQUIPMENT, *site.facilities]))
        organization = site.facilities[facility].organization
        if (facility, name) in self._switched_off:
            return NeedsSetup(
                f"resource {safe!r} of {facility} is switched off in OmegaAI's organisation {organization}",
                setting="OmegaAI: Scheduler > Edit Healthcare Services > Active",
            )
        near = self._near_names(facility).of(name)
        nearly = f"; nearly the same is {near[0].name!r} ({near[0].by})" if near else ""
        return NeedsSetup(
            f"resource {safe!r} of {facility} is not a HealthcareService of OmegaAI's organisation {organization}"
            f"{nearly}",
            setting=f"OmegaAI: Scheduler > Edit Healthcare Services, or `resources alias`, or "
            f"resource_aliases.{facility} in the site file",
        )

    def _near_names(self, facility: str) -> NearNames:
        """Made when a name is not found, once for each filling."""
        found = self._near.get(facility)
        if found is None:
            found = self._near[facility] = NearNames(name for where, name in self._by_name if where == facility)
        return found

    def of_service(self, healthcare_service_id: str) -> Resource | None:
        """The resource that is this HealthcareService. Transient while they have never been read."""
        if not self._was_filled:
            raise Transient("the resources have not been read from OmegaAI yet")
        return next((one for one in self._by_name.values() if one.healthcare_service_id == healthcare_service_id), None)

    def __len__(self) -> int:
        return len(self._by_name)
