"""The site file's rules of self-scheduling, for each facility."""

import math
from datetime import date
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from site_file import SiteSection

_EARTH_KM: Final = 6371.0


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
    closed: frozenset[date] = frozenset()
    auto_confirm: tuple[Literal["known-patient", "form-complete", "slot-free"], ...] = ()
    """A request is confirmed without staff when all of these hold; empty: staff confirm every request."""

    def against_patients(self, modality: str | None, *, is_open: bool, is_moving: bool) -> list[str]:
        """Why patients may not move, or book, on a resource of ``modality``; ``is_open``: OmegaAI opens it to them."""
        if is_moving:
            return [] if self.reschedule else ["patients of this facility may not move appointments by themselves"]
        found = []
        if not self.public_booking:
            found.append("patients of this facility may not book by themselves")
        if modality not in self.modalities:
            found.append("exams of this modality are not open to self-scheduling here")
        if not is_open:
            found.append("OmegaAI does not open this resource to self-scheduling")
        return found

    def is_too_far(self, latitude: float, longitude: float) -> bool:
        """Whether a patient there is outside the facility's radius."""
        if self.radius_km is None or self.latitude is None or self.longitude is None:
            return False
        there, here = math.radians(latitude), math.radians(self.latitude)
        across = math.radians(longitude - self.longitude)
        chord = math.sin((there - here) / 2) ** 2 + math.cos(there) * math.cos(here) * math.sin(across / 2) ** 2
        return 2 * _EARTH_KM * math.asin(min(1.0, math.sqrt(chord))) > self.radius_km

    @model_validator(mode="after")
    def _has_a_place(self) -> "FacilityScheduling":
        if self.radius_km is not None and (self.latitude is None or self.longitude is None):
            raise ValueError("radius_km needs latitude and longitude")
        return self


NO_SELF_SCHEDULING: Final = FacilityScheduling()
