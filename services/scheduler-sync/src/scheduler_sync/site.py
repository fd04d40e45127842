"""scheduler-sync's part of the site file: PowerServer's statuses, and names of resources that differ in OmegaAI."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

import site_file
from scheduler_sync.domain.appointment import WorkflowStep
from site_file import SharedSite, SiteFacility, SiteFileError, SiteHl7

__all__ = ["Site", "SiteFacility", "SiteFile", "SiteFileError", "SyncHl7", "load"]


class SyncHl7(SiteHl7):
    """The shared profile, with this service's workflow steps."""

    order_statuses: Mapping[str, WorkflowStep] = {
        "CM": WorkflowStep.COMPLETED, "CA": WorkflowStep.CANCELLED, "DC": WorkflowStep.CANCELLED,
    }  # fmt: skip


class SiteFile(SharedSite):
    """scheduler-sync's part of the site file."""

    statuses: Annotated[dict[int, WorkflowStep], Field(min_length=1)]
    status_names: dict[str, int] = Field(default_factory=dict)
    resource_aliases: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per facility: PowerServer's resource name → HealthcareService name, where the two cannot be made the same."""
    hl7: SyncHl7 = SyncHl7()
    stations: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per facility: AE title of a station on PowerServer's modality worklist → PowerServer's resource name."""

    @model_validator(mode="after")
    def _names_have_steps(self) -> "SiteFile":
        for name, value in self.status_names.items():
            if value not in self.statuses:
                raise ValueError(f"status_names.{name}: {value} is not among the order values of statuses")
        for step in (WorkflowStep.SCHEDULED, WorkflowStep.CONFIRMED, WorkflowStep.CANCELLED):
            if step not in self.statuses.values():
                raise ValueError(f"statuses: no order value maps to {step}")
        for facility in self.resource_aliases:
            if facility not in self.facilities:
                raise ValueError(f"resource_aliases.{facility}: is not among facilities")
        return self

    @model_validator(mode="after")
    def _stations_have_one_title(self) -> "SiteFile":
        titles: set[str] = set()
        for facility, stations in self.stations.items():
            if facility not in self.facilities:
                raise ValueError(f"stations.{facility}: is not among facilities")
            for title in stations:
                if title in titles:
                    raise ValueError(f"stations.{facility}.{title}: stands there twice; AE titles are unique")
                titles.add(title)
        return self

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
