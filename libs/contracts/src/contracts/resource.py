"""Events of a resource: PowerServer's resource and OmegaAI's HealthcareService as one.

One revision counter per resource.
"""

from typing import Annotated, Literal

from pydantic import Field

from contracts.envelope import Message, Payload


class Difference(Payload):
    """A field that the two systems show differently. Null: the system has no value."""

    field: str = Field(min_length=1, description="Name of the field, for example duration_minutes.")
    powerserver: str | None = Field(default=None, description="PowerServer's value, as a person reads it.")
    omegaai: str | None = Field(default=None, description="OmegaAI's value, as a person reads it.")


class ResourceData(Payload):
    """The whole resource, not the difference from the state before."""

    site: str = Field(min_length=1, description="Site, as its site file names it.")
    facility: str = Field(min_length=1, description="Facility code of the scheduling system (HL7 AIL-3.4).")
    name: str = Field(min_length=1, description="Resource by its exact name in PowerServer.")
    modality: str | None = Field(default=None, description="DICOM modality, for example CT.")
    healthcare_service_id: str | None = Field(
        default=None, min_length=1, description="Id of the HealthcareService in OmegaAI; null when none is linked."
    )
    drift: Annotated[tuple[Difference, ...], Field(strict=False)] = Field(
        default=(), description="Every field in which the two systems differ now; empty when they agree."
    )


class ResourceLinked(Message):
    """A resource of PowerServer and a HealthcareService of OmegaAI became one."""

    type: Literal["resource.linked"]
    version: Literal[1]
    data: ResourceData = Field(description="The resource.")


class ResourceDrifted(Message):
    """The fields in which the two systems differ have changed; drift is empty when they agree again."""

    type: Literal["resource.drifted"]
    version: Literal[1]
    data: ResourceData = Field(description="The resource with its present differences.")
