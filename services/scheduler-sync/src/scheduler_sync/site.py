"""scheduler-sync's part of the site file: PowerServer's statuses, names of resources, and the mapping file it names."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

import site_file
from scheduler_sync.domain.appointment import WorkflowStep
from scheduler_sync.mapping import Hl7Mapping
from scheduler_sync.self_scheduling import NO_SELF_SCHEDULING, FacilityScheduling
from site_file import SharedSite, SiteFacility, SiteFileError, SiteHl7

__all__ = ["FacilityScheduling", "Site", "SiteFacility", "SiteFile", "SiteFileError", "SyncHl7", "load"]


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
    study_minutes: dict[str, Annotated[int, Field(ge=1, le=24 * 60)]] = Field(default_factory=dict)
    """The length of a study type in minutes, by its code, where a request must not be shorter."""
    self_scheduling: dict[str, FacilityScheduling] = Field(default_factory=dict)
    self_scheduling_capacity: Annotated[int, Field(ge=1, le=100)] = 1
    """How many patients may book the same time of a resource that OmegaAI lets overbook; of all others it is 1."""
    hl7: SyncHl7 = SyncHl7()
    stations: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Per facility: AE title of a station on PowerServer's modality worklist → PowerServer's resource name."""
    mapping: Hl7Mapping = Hl7Mapping()
    """From the file that ``hl7.mapping`` names."""

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

    @property
    def never_confirmed(self) -> tuple[str, ...]:
        """The facilities whose rules of auto-confirmation never hold: the suite knows of no complete form."""
        return tuple(code for code, rules in self.self_scheduling.items() if "form-complete" in rules.auto_confirm)

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
    def issuer_of_system(self) -> Mapping[str, str]:
        """The issuer, as the store has it, of each of OmegaAI's identifier systems."""
        return {system: self.authorities[issuer] for issuer, system in self.issuers.items()}

    @cached_property
    def status_of_step(self) -> Mapping[WorkflowStep, tuple[int, str]]:
        """PowerServer's form of a step: order value and the site's name for it (SCH-25, ORC-16)."""
        names = {value: name for name, value in reversed(self.status_names.items())}
        found: dict[WorkflowStep, tuple[int, str]] = {}
        for value, step in sorted(self.statuses.items()):
            found.setdefault(step, (value, names.get(value, step.value.replace("-", " ").upper())))
        return found


class Site(site_file.Site[SiteFile]):
    """The present site file, with its mapping."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, SiteFile, _load)


def load(path: Path) -> SiteFile:
    """Reads the site file and its mapping once. Raises SiteFileError when one of them is not valid."""
    return _load(path, lambda _: None)


def _load(path: Path, watch: Callable[[Path], None]) -> SiteFile:
    content = site_file.read(path)
    if content.has(("mapping",)):
        line = content.line(("mapping",))
        raise SiteFileError(f"{path}:{line}: mapping: stands in a file of its own; write its name as hl7.mapping")
    file = site_file.of_content(content, SiteFile)
    if file.hl7.mapping is None:
        return file
    beside = path.parent / file.hl7.mapping
    watch(beside)
    return file.model_copy(update={"mapping": read_mapping(beside)})


def read_mapping(path: Path) -> Hl7Mapping:
    """A mapping file. SiteFileError with the file, the line, the key, what is wrong and what to write."""
    content = site_file.read(path)
    return content.validated(Hl7Mapping, {} if content.values is None else content.values).of_file(content)
