"""scheduler-sync's part of the site file: PowerServer's statuses, and names of resources that differ in OmegaAI."""

from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

import site_file
from scheduler_sync.domain.appointment import WorkflowStep
from site_file import SharedSite, SiteFacility, SiteFileError, SiteHl7, SiteSection

__all__ = ["FacilityScheduling", "Site", "SiteFacility", "SiteFile", "SiteFileError", "SyncHl7", "load"]


class SyncHl7(SiteHl7):
    """The shared profile, with this service's workflow steps."""

    order_statuses: Mapping[str, WorkflowStep] = {
        "CM": WorkflowStep.COMPLETED, "CA": WorkflowStep.CANCELLED, "DC": WorkflowStep.CANCELLED,
    }  # fmt: skip


class FacilityScheduling(SiteSection):
    """What patients of a facility may do by themselves, and the rules of its calendar. By default nothing."""

    public_booking: bool = False
    reschedule: bool = False
    cancel: bool = False
    modalities: tuple[Annotated[str, Field(min_length=1, max_length=16)], ...] = ()
    """The modalities that patients may book by themselves, where OmegaAI allows it on the resource, too."""
    radius_km: Annotated[float, Field(gt=0, le=20_040)] | None = None
    """Patients farther away than this cannot book here. It needs latitude and longitude."""
    latitude: Annotated[float, Field(ge=-90, le=90)] | None = None
    longitude: Annotated[float, Field(ge=-180, le=180)] | None = None
    notice_minutes: Annotated[int, Field(ge=0, le=60 * 24 * 30)] = 60
    """The shortest time from now until a slot that a patient may book."""
    horizon_days: Annotated[int, Field(ge=1, le=400)] = 90
    hold_minutes: Annotated[int, Field(ge=1, le=60)] = 10
    grid_minutes: Literal[5, 10, 15, 20, 30, 60] = 15
    before_minutes: Annotated[int, Field(ge=0, le=240)] = 0
    after_minutes: Annotated[int, Field(ge=0, le=240)] = 0
    """The time that a resource needs before and after each exam."""
    study_minutes: dict[str, Annotated[int, Field(ge=1, le=24 * 60)]] = {}
    """The length of a study type, by its code; the resource's usual length where it is missing."""
    closed: frozenset[date] = frozenset()
    auto_confirm: tuple[Literal["known-patient", "form-complete", "slot-free"], ...] = ()
    """A request is confirmed without staff when all of these hold; empty: staff confirm every request."""

    @model_validator(mode="after")
    def _has_a_place(self) -> "FacilityScheduling":
        if self.radius_km is not None and (self.latitude is None or self.longitude is None):
            raise ValueError("radius_km needs latitude and longitude")
        return self


NO_SELF_SCHEDULING: Final = FacilityScheduling()


class SiteFile(SharedSite):
    """scheduler-sync's part of the site file."""

    statuses: Annotated[dict[int, WorkflowStep], Field(min_length=1)]
    status_names: dict[str, int] = Field(default_factory=dict)
    resource_aliases: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per facility: PowerServer's resource name → HealthcareService name, where the two cannot be made the same."""
    self_scheduling: dict[str, FacilityScheduling] = Field(default_factory=dict)
    self_scheduling_capacity: Annotated[int, Field(ge=1, le=100)] = 1
    """How many patients may book the same time of a resource that OmegaAI lets overbook; of all others it is 1."""
    hl7: SyncHl7 = SyncHl7()

    @model_validator(mode="after")
    def _names_have_steps(self) -> "SiteFile":
        for name, value in self.status_names.items():
            if value not in self.statuses:
                raise ValueError(f"status_names.{name}: {value} is not among the order values of statuses")
        for step in (WorkflowStep.SCHEDULED, WorkflowStep.CONFIRMED, WorkflowStep.CANCELLED):
            if step not in self.statuses.values():
                raise ValueError(f"statuses: no order value maps to {step}")
        for facility in self.self_scheduling:
            if facility not in self.facilities:
                raise ValueError(f"self_scheduling.{facility}: is not among facilities")
        for facility in self.resource_aliases:
            if facility not in self.facilities:
                raise ValueError(f"resource_aliases.{facility}: is not among facilities")
        return self

    def scheduling_of(self, facility: str) -> FacilityScheduling:
        """The facility's rules of self-scheduling; nothing is allowed where the file has none."""
        return self.self_scheduling.get(facility, NO_SELF_SCHEDULING)

    @cached_property
    def step_of_name(self) -> Mapping[str, WorkflowStep]:
        """The step of each status name, in upper case."""
        return {name.upper(): self.statuses[value] for name, value in reversed(self.status_names.items())}

    @cached_property
    def status_of_step(self) -> Mapping[WorkflowStep, tuple[int, str]]:
        """PowerServer's form of a step: order value and the site's name for it (SCH-25, ORC-16)."""
        names = {value: name for name, value in reversed(self.status_names.items())}
        found: dict[WorkflowStep, tuple[int, str]] = {}
        for value, step in sorted(self.statuses.items()):
            found.setdefault(step, (value, names.get(value, step.value.replace("-", " ").upper())))
        return found


class Site(site_file.Site[SiteFile]):
    """The present site file."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SiteFile)


def load(path: Path) -> SiteFile:
    """Reads the site file once. Raises SiteFileError when it is not valid."""
    return site_file.load(path, SiteFile)
